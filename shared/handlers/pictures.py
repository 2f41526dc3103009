"""Pictures while a run goes on: a file per case at inference, panels in TensorBoard during training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents

from ..paths import atomic_write
from ..visualize import on_grid, outline_figure, with_regions


def save_picture(figure: Figure, folder: Path, case: str) -> None:
    """Write a figure as `<folder>/<case>.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / f"{case}.png") as temporary:
        # files of this level are as small as those of the default, 6, in half the time
        figure.savefig(temporary, dpi=110, pil_kwargs={"compress_level": 3})


def log_figure(log_dir: str | os.PathLike, case: str, figure: Figure, epoch: int) -> None:
    """Show a figure of a case of the validation in TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and inference does not need it

    with SummaryWriter(str(log_dir)) as writer:
        writer.add_figure(f"validation/{case}", figure, global_step=epoch)


class FirstCases:
    """Do something with the first cases of every epoch, which a subclass says in `show`.

    Args:
        cases: how many; None shows all.
    """

    event = IterationEvents.MODEL_COMPLETED

    def __init__(self, cases: int | None = None):
        self.cases, self.shown = cases, 0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(self.event, self)

    def start(self, engine: Engine) -> None:
        self.shown = 0

    def __call__(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            if self.cases is not None and self.shown >= self.cases:
                return
            self.shown += 1
            self.show(engine, item, output)

    def show(self, engine: Engine, item: Mapping, output: Mapping) -> None:
        raise NotImplementedError


class CasePictures:
    """Save `<folder>/<case>.png` for every case: three planes through the finding, predicted regions as outlines.

    Args:
        folder: where the pictures go.
        channels: channels of "image" to show, `{"FLAIR": 3, "T1ce": 0}`.
        regions: label values of each region of the label map "pred", `{"TC": [1, 4], ...}`.
    """

    def __init__(self, folder: str | os.PathLike, channels: Mapping[str, int], regions: Mapping[str, Sequence[int]]):
        self.folder, self.channels, self.regions = Path(folder), dict(channels), dict(regions)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            image = item["image"]
            # before the masks are made of it, since it is one channel and they are several
            labels = on_grid(output["pred"], image).as_tensor().cpu().numpy()
            masks = torch.from_numpy(np.concatenate([np.isin(labels, values) for values in self.regions.values()]))
            masks = with_regions(MetaTensor(masks, affine=image.affine), list(self.regions))
            figure = outline_figure(image, self.channels, {"": masks}, title=item["case"])
            save_picture(figure, self.folder, item["case"])


class TensorBoardPanels(FirstCases):
    """Show image, label and prediction of the first cases of every validation in TensorBoard.

    Args:
        log_dir: TensorBoard's folder, the same as that of the scalars.
        channels: channels of "image" to show.
        regions: names of the channels of "label" and "pred".
        cases: how many cases.
    """

    event = Events.ITERATION_COMPLETED

    def __init__(self, log_dir: str | os.PathLike, channels: Mapping[str, int], regions: Sequence[str], cases: int = 2):
        super().__init__(cases)
        self.log_dir, self.channels, self.regions = str(log_dir), dict(channels), list(regions)

    def show(self, engine: Engine, item: Mapping, output: Mapping) -> None:
        label, pred = output["label"], output["pred"]
        rows = {
            "input": MetaTensor(torch.zeros(0, *label.shape[1:]), affine=label.affine),
            "label": with_regions(label, self.regions),
            "prediction": with_regions(pred, self.regions),
        }
        figure = outline_figure(item["image"], self.channels, rows, title=item["case"])
        log_figure(self.log_dir, item["case"], figure, engine.state.epoch)
