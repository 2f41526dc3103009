"""An evaluator for folders of cases, some of which may be damaged."""

from __future__ import annotations

import logging

import ignite.distributed as idist
from monai.engines import SupervisedEvaluator

from .errors import InputError, describe


class CaseEvaluator(SupervisedEvaluator):
    """MONAI's evaluator, but a case that fails is reported and the others go on.

    Expects batches of one case from a `CaseDataset`. Loading, network, postprocessing and the handlers of
    `IterationEvents.MODEL_COMPLETED` are guarded. Call `finish` after `run`. Of several processes some may have no case.

    Attributes:
        failures: reason of every case that failed in this process, by name.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.failures: dict[str, str] = {}
        self.logger = logging.getLogger(type(self).__name__)

    def run(self, global_epoch: int = 1) -> None:
        if self.state.epoch_length:  # else all is finished already, or other processes have the cases
            super().run(global_epoch)

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
        """Say how many cases went through, in all processes, and end the program with exit code 1 if any did not.

        Raises:
            InputError: a case failed; the message lists all of them with their reasons. Of several processes only the
                first one raises it, the others end without a word.
        """
        total = sum(idist.all_gather(self.state.epoch_length))
        failures = {case: reason for part in idist.all_gather(self.failures) for case, reason in part.items()}
        if not failures:
            self.logger.info(f"all {total} cases finished")
        elif idist.get_rank() > 0:
            raise SystemExit
        else:
            reasons = "\n".join(f"  {case}: {reason}" for case, reason in sorted(failures.items()))
            raise InputError(f"{len(failures)} of {total} cases failed:\n{reasons}")
