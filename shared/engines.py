"""An evaluator for folders of cases, some of which may be damaged."""

from __future__ import annotations

import logging

from monai.engines import SupervisedEvaluator

from .errors import InputError, describe


class CaseEvaluator(SupervisedEvaluator):
    """MONAI's evaluator, but a case that fails is reported and the others go on.

    Expects batches of one case from a `CaseDataset`. Loading, network, postprocessing and the handlers of
    `IterationEvents.MODEL_COMPLETED` are guarded. Call `finish` after `run`.

    Attributes:
        failures: reason of every failed case, by name.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.failures: dict[str, str] = {}
        self.logger = logging.getLogger(type(self).__name__)

    def _iteration(self, engine, batchdata):
        case = batchdata["case"][0]
        try:
            if "error" in batchdata:
                raise ValueError(batchdata["error"][0])
            return super()._iteration(engine, batchdata)
        except Exception as error:
            self.failures[case] = describe(error)
            self.logger.error(f"{case}: {self.failures[case]}")
            engine.state.output = None
            return None

    def finish(self) -> None:
        """Say how many cases went through and end the program with exit code 1 if any did not.

        Raises:
            InputError: a case failed; the message lists all of them with their reasons.
        """
        total = self.state.epoch_length
        if self.failures:
            reasons = "\n".join(f"  {case}: {reason}" for case, reason in sorted(self.failures.items()))
            raise InputError(f"{len(self.failures)} of {total} cases failed:\n{reasons}")
        self.logger.info(f"all {total} cases finished")
