"""Keep the atlas that is being learned, as an image that programs and people can read."""

from __future__ import annotations

import os
from pathlib import Path

from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from monai.data import MetaTensor

from ..losses.template import slope
from ..networks.template import TemplateNet
from ..paths import atomic_write
from ..registration.affine import matrix_of
from ..registration.pictures import slices
from ..registration.template import save_atlas


class AtlasFiles:
    """Save the learned atlas as `atlas.nii.gz` at the end of every epoch, and it beside its start as `atlas.png`.

    Args:
        folder: where both go.
        network: the TemplateNet.
        start: what it began with (1, H, W, D), with affine.
    """

    def __init__(self, folder: str | os.PathLike, network: TemplateNet, start: MetaTensor):
        self.folder, self.network, self.start = Path(folder), network, start

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        learned = self.network.template.detach().cpu()
        start = self.start.as_tensor().cpu()[None]
        self.folder.mkdir(parents=True, exist_ok=True)
        save_atlas(self.folder / "atlas.nii.gz", learned[0, 0].numpy(), matrix_of(self.start))
        figure = Figure(figsize=(9, 6), facecolor="black", layout="tight")
        axes = figure.subplots(2, 3)
        for row, (name, image) in zip(axes, {"average": start, "learned": learned}.items(), strict=True):
            for axis, (plane, cut) in zip(row, slices(image[0, 0].numpy()).items(), strict=True):
                axis.imshow(cut, cmap="gray", vmin=0, vmax=float(start.max()))
                axis.set_title(f"{name}, {plane}, mean slope {float(slope(image)):.4f}", color="white", fontsize=8)
                axis.set_axis_off()
        with atomic_write(self.folder / "atlas.png") as temporary:
            figure.savefig(temporary, dpi=110)
