"""Stop when validation no longer improves."""

from __future__ import annotations

import logging

from ignite.engine import Engine, Events


class EarlyStopping:
    """Stop the trainer once the evaluator's best epoch lies more than `patience` epochs back.

    It counts nothing by itself but reads the evaluator's `best_metric_epoch`, which `Checkpoints` restores, so a resumed run
    stops where the uninterrupted one would. (The counters of MONAI's and ignite's handlers start anew.) Attach it to the
    trainer behind the ValidationHandler.
    """

    def __init__(self, evaluator: Engine, patience: int):
        self.evaluator, self.patience = evaluator, patience

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        best = self.evaluator.state.best_metric_epoch
        if 0 < best <= engine.state.epoch - self.patience:
            logging.getLogger(type(self).__name__).info(
                f"no better {self.evaluator.state.key_metric_name} since epoch {best}: stopping at epoch {engine.state.epoch}"
            )
            engine.terminate()
