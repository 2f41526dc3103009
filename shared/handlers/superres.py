"""Pictures of super-resolution: the coarse image, interpolations, the prediction."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ignite.engine import Engine
from matplotlib.figure import Figure
from monai.data import MetaTensor
from monai.transforms import Orientation

from ..resolution import ORDERS, interpolate
from ..visualize import PLANES, aspect, plane
from .pictures import FirstCases, log_figure, save_picture

DIFFERENCE = 0.3  # of white, the end of the colours


def superresolution_figure(columns: Mapping[str, MetaTensor], title: str = "") -> Figure:
    """Draw volumes of one grid in three planes, the middle ones.

    Args:
        columns: (1, H, W, D) each, white at 1, with affine; those whose name begins with "difference" in colours, red where
            above zero.
        title: printed above.
    """
    turned = {name: Orientation("RAS", labels=None)(volume) for name, volume in columns.items()}
    spacing = [float(s) for s in next(iter(turned.values())).pixdim]
    figure = Figure(figsize=(3 * len(turned), 3 * len(PLANES) + 0.5), facecolor="black")
    figure.subplots_adjust(0.003, 0.005, 0.997, 1 - 0.6 / figure.get_figheight(), wspace=0.02, hspace=0.02)
    axes = figure.subplots(len(PLANES), len(turned), squeeze=False)
    for column, (name, volume) in enumerate(turned.items()):
        data = volume[0].numpy(force=True)
        style = {"cmap": "gray", "vmin": 0, "vmax": 1}
        if name.startswith("difference"):
            style = {"cmap": "RdBu_r", "vmin": -DIFFERENCE, "vmax": DIFFERENCE}
        for row, which in enumerate(PLANES):
            cut = plane(data, which, [n // 2 for n in data.shape])
            axes[row][column].imshow(cut, **style, interpolation="nearest", aspect=aspect(which, spacing))
            axes[row][column].set_axis_off()
        axes[0][column].set_title(name, color="white", fontsize=10, y=1)
    figure.suptitle(title, color="white", fontsize=11)
    return figure


class SuperResolutionPictures(FirstCases):
    """Save `<folder>/<case>.png`: original (where it is known), coarse image, cubic interpolation, prediction, differences.

    Args:
        folder: where the pictures go.
        factor, grid: of the prediction.
        cases: how many of an epoch; None pictures all.
        log_dir: of TensorBoard, which then gets the same pictures.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        factor: Sequence[int],
        grid: str,
        cases: int | None = None,
        log_dir: str | os.PathLike | None = None,
    ):
        super().__init__(cases)
        self.folder, self.factor, self.grid, self.log_dir = Path(folder), list(factor), grid, log_dir

    def show(self, engine: Engine, item: Mapping, output: Mapping) -> None:
        figure = superresolution_figure(self.columns({**item, **output}), title=item["case"])
        save_picture(figure, self.folder, item["case"])
        if self.log_dir is not None:
            log_figure(self.log_dir, item["case"], figure, engine.state.epoch)

    def columns(self, item: Mapping) -> dict[str, MetaTensor]:
        """The volumes to show, on the finer grid."""
        coarse, white = item["image"][0].numpy(force=True), float(item["image_scale"])
        shown, known = {}, item.get("label") is not None
        if known:
            shown["original"] = item["label"][0].numpy(force=True) / white
        for name, method in {"input": "nearest", "cubic": "cubic"}.items():
            shown[name] = interpolate(coarse, self.factor, self.grid, ORDERS[method])
        shown["network"] = item["pred"][0].numpy(force=True) / white
        for name in ("cubic", "network") if known else ():
            shown[f"difference of {name}"] = shown[name] - shown["original"]
        if not known:
            shown["difference to cubic"] = shown["network"] - shown["cubic"]
        affine = item["pred"].affine
        return {name: MetaTensor(np.ascontiguousarray(volume)[None], affine=affine) for name, volume in shown.items()}
