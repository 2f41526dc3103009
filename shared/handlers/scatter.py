"""A picture of predicted against true ages."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from ignite.engine import Engine, Events

from ..paths import atomic_write
from .case_table import read_rows


def age_figure(rows: dict[str, dict[str, str]], title: str = ""):
    """Scatter of predicted against true age, a colour per sex, from rows with "age", "age_pred" and "male".

    Returns:
        a matplotlib figure; cases of unknown age are left out.
    """
    from matplotlib.figure import Figure  # slow to import, and a run that fails early does not need it

    figure = Figure(figsize=(5, 5), layout="constrained")
    axis = figure.add_subplot(xlabel="age (years)", ylabel="predicted age (years)", title=title, aspect="equal")
    known = [row for row in rows.values() if row.get("age") not in ("", None)]
    true, predicted = (np.array([float(row[key]) for row in known]) for key in ("age", "age_pred"))
    male = np.array([row.get("male") or "nan" for row in known], dtype=float)
    for name, mask, colour in (
        ("women", male == 0, "#c2571a"),
        ("men", male == 1, "#1f6f8b"),
        ("unknown", np.isnan(male), "grey"),
    ):
        if mask.any():
            axis.scatter(true[mask], predicted[mask], s=18, color=colour, label=f"{name} ({mask.sum()})")
    if known:
        ends = [min(true.min(), predicted.min()) - 3, max(true.max(), predicted.max()) + 3]
        axis.plot(ends, ends, color="black", linewidth=0.8)
        axis.set(xlim=ends, ylim=ends)
        axis.legend(frameon=False, title=f"MAE {np.abs(true - predicted).mean():.2f} years, n = {len(known)}")
    return figure


class AgeScatter:
    """Draw predicted against true age at the end of every epoch, to a file and to TensorBoard.

    Attach it behind the CaseTable whose file it reads.

    Args:
        folder: of the table, of the picture age.png, and of TensorBoard's events.
        table: name of the table, with the columns age, age_pred and male.
    """

    def __init__(self, folder: str | os.PathLike, table: str):
        self.folder, self.table = Path(folder), table

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        from torch.utils.tensorboard import SummaryWriter

        figure = age_figure(read_rows(self.folder / self.table))
        with atomic_write(self.folder / "age.png") as temporary:
            figure.savefig(temporary, dpi=110)
        with SummaryWriter(str(self.folder)) as writer:
            writer.add_figure("validation/age", figure, global_step=engine.state.epoch)
