"""Vectors of slices as files, and pictures of the slices that were rebuilt from them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine
from matplotlib.figure import Figure
from monai.engines.utils import IterationEvents

from ..paths import atomic_write
from ..visualize import aspect, plane
from .pictures import FirstCases, log_figure, save_picture

SHOWN = 5  # slices of a head
DIFFERENCE = 0.5  # of white, the end of the colours


class LatentFiles:
    """Save `<folder>/<case>_latents.npz`: "latent" (D, K), the vector of each slice, and "centre_mm" (D, 3), where it lies."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            with atomic_write(self.folder / f"{item['case']}_latents.npz") as temporary:
                np.savez(temporary, latent=output["latent"].numpy(), centre_mm=output["centre_mm"].numpy())


def slices_figure(image: torch.Tensor, pred: torch.Tensor, channels: Sequence[str], title: str = "") -> Figure:
    """Draw slices, what was rebuilt of them, and the difference, in three rows for each channel.

    Args:
        image: (C, H, W, D) in RAS orientation, white at 1.
        pred: the reconstruction, likewise.
        channels: their names.
        title: printed above.
    """
    truth, rebuilt = (volume.as_subclass(torch.Tensor).float().cpu().numpy() for volume in (image, pred))
    depth = truth.shape[-1]
    chosen = np.unique(np.linspace(0, depth - 1, SHOWN).round().astype(int))
    rows = [(f"{name} {kind}", i, kind) for i, name in enumerate(channels) for kind in ("input", "rebuilt", "difference")]
    figure = Figure(figsize=(2.1 * len(chosen), 2.1 * len(rows) + 0.4), facecolor="black")
    figure.subplots_adjust(0.04, 0.005, 0.997, 1 - 0.4 / figure.get_figheight(), wspace=0.02, hspace=0.02)
    axes = figure.subplots(len(rows), len(chosen), squeeze=False)
    for line, (text, channel, kind) in zip(axes, rows, strict=True):
        volume = {"input": truth, "rebuilt": rebuilt, "difference": rebuilt - truth}[kind][channel]
        style = {"cmap": "gray", "vmin": 0, "vmax": 1}
        if kind == "difference":
            style = {"cmap": "RdBu_r", "vmin": -DIFFERENCE, "vmax": DIFFERENCE}
        for axis, index in zip(line, chosen, strict=True):
            cut = plane(volume, "axial", (0, 0, int(index)))
            axis.imshow(cut, **style, interpolation="nearest", aspect=aspect("axial", (1, 1, 1)))
            axis.set_axis_off()
        line[0].text(-0.06, 0.5, text, color="white", rotation=90, va="center", ha="right", transform=line[0].transAxes)
    figure.suptitle(title, color="white", fontsize=11)
    return figure


class SlicesPictures(FirstCases):
    """Save `<folder>/<case>.png`: slices from the lowest to the highest, rebuilt, and the difference (red: rebuilt brighter).

    Args:
        folder: where the pictures go.
        channels: names of the channels.
        cases: how many of an epoch; None pictures all.
        log_dir: of TensorBoard, which then gets the same pictures.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        channels: Sequence[str],
        cases: int | None = None,
        log_dir: str | os.PathLike | None = None,
    ):
        super().__init__(cases)
        self.folder, self.channels, self.log_dir = Path(folder), list(channels), log_dir

    def show(self, engine: Engine, item: Mapping, output: Mapping) -> None:
        title = f"{item['case']}, MS-SSIM {output['measured']['ms_ssim']:.3f}"
        figure = slices_figure(item["image"], output["pred"], self.channels, title)
        save_picture(figure, self.folder, item["case"])
        if self.log_dir is not None:
            log_figure(self.log_dir, item["case"], figure, engine.state.epoch)
