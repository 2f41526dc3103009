"""An evaluator for folders of cases, some of which may be damaged."""

from __future__ import annotations

import atexit
import gc
import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor

import ignite.distributed as idist
from ignite.engine import Engine, Events, State
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents

from .errors import InputError, describe


class CaseEvaluator(SupervisedEvaluator):
    """MONAI's evaluator, but a case that fails is reported and the others go on, and results are saved behind the network.

    Expects batches of one case from a `CaseDataset`, or of several that can only fail together. What follows the network
    (postprocessing, and handlers of `IterationEvents.MODEL_COMPLETED`, which save tables and pictures) runs in a thread, on an
    engine of its own with the batch's "batch" and "output" in its state, while the network works on the next one. At most one
    batch waits. Call `finish` after `run`. Of several processes some may have no case.

    Attributes:
        failures: reason of every case that failed in this process, by name.
    """

    def __init__(self, *args, **kwargs):
        self.behind = Engine(lambda engine, batch: None)
        self.behind.register_events(*IterationEvents)
        super().__init__(*args, **kwargs)
        super().add_event_handler(Events.EPOCH_COMPLETED, self._wait)  # handlers of COMPLETED may count on all cases
        self.failures: dict[str, str] = {}
        self.seen = 0  # cases of this process
        self.logger = logging.getLogger(type(self).__name__)

    def add_event_handler(self, event_name, handler, *args, **kwargs):
        """As ignite's, but what follows the network is attached to the engine behind."""
        if event_name == IterationEvents.MODEL_COMPLETED:
            return self.behind.add_event_handler(event_name, handler, *args, **kwargs)
        return super().add_event_handler(event_name, handler, *args, **kwargs)

    def run(self, global_epoch: int = 1) -> None:
        if not self.state.epoch_length:  # all is finished already, or other processes have the cases
            return
        start = time.perf_counter()
        gc.freeze()  # each search for garbage among all that is imported would take 0.2 s
        try:
            with ThreadPoolExecutor(1) as self.thread:
                self.waiting: Future | None = None
                super().run(global_epoch)
        finally:
            gc.unfreeze()
        self.logger.info(f"{(time.perf_counter() - start) / max(self.seen, 1):.2f} s per case")

    def _iteration(self, engine, batchdata):
        cases = batchdata["case"]
        self.seen += len(cases)
        try:
            if "error" in batchdata:
                raise ValueError(batchdata["error"][0])
            output = super()._iteration(engine, batchdata)
        except Exception as error:
            self._fail(cases, error)
            return None
        self._wait()
        self.waiting = self.thread.submit(self._complete, cases, batchdata, output)
        return None

    def _wait(self) -> None:
        if self.waiting is not None:
            self.waiting.result()

    def _complete(self, cases: list[str], batch: dict, output: dict) -> None:
        self.behind.state = State(batch=batch, output=output)
        try:
            self.behind.fire_event(IterationEvents.MODEL_COMPLETED)
        except Exception as error:
            self._fail(cases, error)
        self.behind.state = State()  # lets go of the case

    def _fail(self, cases: list[str], error: Exception) -> None:
        self.failures |= dict.fromkeys(cases, describe(error))
        self.logger.error(f"{', '.join(cases)}: {describe(error)}")

    def finish(self) -> None:
        """Say how many cases went through, in all processes, and end the program with exit code 1 if any did not.

        Raises:
            InputError: a case failed; the message lists all of them with their reasons. Of several processes only the
                first one raises it, the others end without a word.
        """
        atexit.register(gc.freeze)  # else Python spends 0.7 s on searching for garbage before it ends
        total = sum(idist.all_gather(self.seen))
        failures = {case: reason for part in idist.all_gather(self.failures) for case, reason in part.items()}
        if not failures:
            self.logger.info(f"all {total} cases finished")
        elif idist.get_rank() > 0:
            raise SystemExit
        else:
            reasons = "\n".join(f"  {case}: {reason}" for case, reason in sorted(failures.items()))
            raise InputError(f"{len(failures)} of {total} cases failed:\n{reasons}")
