"""How loss and scores went, epoch by epoch, as a table and a picture."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine, Events

from ..paths import atomic_write

TABLE, PICTURE = "training.csv", "training.png"


def curves_figure(rows: Sequence[Mapping[str, str]]):
    """A panel for the loss and one for each score, against epochs, from rows with "epoch"; empty cells are left out.

    Returns:
        a matplotlib figure.
    """
    from matplotlib.figure import Figure  # slow to import, and a run that fails early does not need it

    names = [name for name in rows[0] if name != "epoch"]
    figure = Figure(figsize=(4 * len(names), 3), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        points = np.array([(float(row["epoch"]), float(row[name])) for row in rows if row[name]]).reshape(-1, 2)
        axis.plot(*points.T, color="#1f6f8b", marker="o", markersize=3, linewidth=1.2)
        axis.set(xlabel="epoch", title="training loss" if name == "loss" else f"validation {name}")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    return figure


class TrainingCurves:
    """Write training.csv, a row with mean loss and validation scores for every epoch, and draw it as training.png.

    Attach it to the trainer behind the ValidationHandler. A run that goes on keeps the rows of the epochs before.

    Args:
        folder: of both files.
        evaluator: the engine whose metrics are the scores.
    """

    def __init__(self, folder: str | os.PathLike, evaluator: Engine):
        self.folder, self.evaluator = Path(folder), evaluator
        self.losses: list[float] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.note)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def note(self, engine: Engine) -> None:
        """Remember the loss of a step."""
        self.losses.append(float(torch.as_tensor(engine.state.output[0]["loss"])))

    def write(self, engine: Engine) -> None:
        """Add the row of the epoch to the table, and draw all of it."""
        state, epoch = self.evaluator.state, engine.state.epoch
        scores = state.metrics if state.epoch == epoch else {}  # else there was no validation in this epoch
        row = {"epoch": epoch, "loss": float(np.mean(self.losses)), **scores}
        self.losses.clear()
        rows = [old for old in self._rows() if int(old["epoch"]) < epoch]
        rows.append({key: f"{value:.6g}" for key, value in row.items()})
        names = list(dict.fromkeys(key for row in rows for key in row))
        rows = [{name: row.get(name, "") for name in names} for row in rows]
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.folder / TABLE) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        with atomic_write(self.folder / PICTURE) as temporary:
            curves_figure(rows).savefig(temporary, dpi=110)

    def _rows(self) -> list[dict[str, str]]:
        if not (self.folder / TABLE).is_file():
            return []
        with (self.folder / TABLE).open(newline="") as file:
            return list(csv.DictReader(file))
