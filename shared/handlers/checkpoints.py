"""The best weights, the last state of a run, and going on from it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from ..errors import InputError
from ..paths import atomic_write
from .tracking import track

BEST, LAST = "model.pt", "last.pt"


class Checkpoints:
    """Keep `model.pt`, the plain state_dict of the best network, and `last.pt`, all that a run needs to go on.

    Attach it to the trainer, behind the ValidationHandler: at the end of every epoch it compares the evaluator's key metric
    (larger is better), writes `model.pt` if that epoch was the best so far, then `last.pt`. Files are replaced whole, so a run
    killed at any moment leaves the previous ones intact. MONAI's CheckpointSaver writes in place and keeps no such state.
    Of several processes the first one writes and all of them load; a run may go on with another number of processes.
    Where MLflow tracks the run, it gets these and the folder's other files, too (`tracking.track`).

    Args:
        folder: where both files lie.
        network: its state_dict becomes `model.pt`; the network itself, not what makes it parallel.
        state: further objects with `state_dict` and `load_state_dict`: optimizer, lr_scheduler, early stopping.
        evaluator: the engine whose key metric decides.
        resume: go on from `last.pt` if it exists. Without it an existing `last.pt` is an error, so that no run is lost.

    Raises:
        InputError: `last.pt` exists and `resume` is off.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        network: torch.nn.Module,
        state: Mapping[str, Any],
        evaluator: Engine,
        resume: bool = False,
    ):
        self.folder, self.network, self.state, self.evaluator = Path(folder), network, dict(state), evaluator
        self.resume = resume
        self.logger = logging.getLogger(type(self).__name__)

    def attach(self, engine: Engine) -> None:
        if (self.folder / LAST).exists() and not self.resume:
            raise InputError(
                f"{self.folder / LAST} is the state of an earlier run: go on with it by --resume true, "
                "or choose another --output_dir"
            )
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.STARTED, track, self.folder)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def load(self, engine: Engine) -> None:
        """Restore everything from `last.pt` if `resume` is on and the file exists."""
        path = self.folder / LAST
        if not path.exists():
            return
        saved = torch.load(path, map_location=engine.state.device, weights_only=True)
        self.network.load_state_dict(saved["network"])
        for name, item in self.state.items():
            item.load_state_dict(saved[name])
        engine.state.epoch = saved["epoch"]
        engine.state.iteration = saved["epoch"] * engine.state.epoch_length
        self.evaluator.state.best_metric = saved["best_metric"]
        self.evaluator.state.best_metric_epoch = saved["best_metric_epoch"]
        self.logger.info(f"going on after epoch {saved['epoch']} of {path}")

    def save(self, engine: Engine) -> None:
        """Write `model.pt` if this epoch's validation was the best so far, then `last.pt`."""
        if idist.get_rank() > 0:
            return
        judge = self.evaluator.state
        if judge.best_metric_epoch == engine.state.epoch:
            self._write(BEST, self.network.state_dict())
            self.logger.info(f"epoch {engine.state.epoch} is the best so far: {judge.key_metric_name} {judge.best_metric:.4f}")
        content = {name: item.state_dict() for name, item in self.state.items()}
        content |= {"network": self.network.state_dict(), "epoch": engine.state.epoch}
        content |= {"best_metric": float(judge.best_metric), "best_metric_epoch": judge.best_metric_epoch}
        self._write(LAST, content)

    def _write(self, name: str, content: Mapping) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.folder / name) as temporary:
            torch.save(content, temporary)
