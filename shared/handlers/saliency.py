"""Where in a head a prediction comes from."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents
from monai.transforms import GaussianSmooth, ResampleToMatch
from monai.visualize import VanillaGrad

from ..paths import atomic_write
from ..visualize import PLANES, aspect, plane


def saliency_figure(image: MetaTensor, reaction: torch.Tensor, title: str = ""):
    """Three planes of an image (1, H, W, D) in RAS through the largest value of a map 0..1 of its shape, which lies over it."""
    from matplotlib.figure import Figure  # slow to import, and runs without maps do not need it

    volume, heat = image[0].numpy(force=True), reaction[0].numpy(force=True)
    voxel = np.unravel_index(heat.argmax(), heat.shape)
    figure = Figure(figsize=(9, 3.4), facecolor="black", layout="constrained")
    for axis, name in zip(figure.subplots(1, 3), PLANES, strict=True):
        height = aspect(name, [float(s) for s in image.pixdim])
        axis.imshow(plane(volume, name, voxel), cmap="gray", vmax=np.percentile(volume, 99.5), aspect=height)
        cut = plane(heat, name, voxel)
        axis.imshow(cut, cmap="inferno", vmin=0, vmax=1, alpha=np.clip(cut * 1.5, 0, 0.75), aspect=height)
        axis.set_axis_off()
    figure.suptitle(title, color="white")
    return figure


class SaliencyMaps:
    """Save `<folder>/<case>.nii.gz` and `.png` per case: how strongly the age reacts to each part of the image.

    The map is the magnitude of the gradient of the network's first output times the image, smoothed by 4 mm and divided by
    its maximum: 0..1, float32, on the grid of the file that was read. Costs about four predictions.

    Args:
        folder: where the maps go.
        network: that was used; (B, 1, H, W, D) to (B, K).
    """

    def __init__(self, folder: str | os.PathLike, network: torch.nn.Module):
        self.folder, self.network = Path(folder), network

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        device = next(self.network.parameters()).device
        for item in engine.state.batch:
            image = item["image"]
            with torch.enable_grad():
                gradient = VanillaGrad(self.network)(image.as_tensor()[None].to(device), index=0)[0].cpu()
            reaction = MetaTensor((gradient * image.as_tensor().cpu()).abs(), affine=image.affine)
            smooth = GaussianSmooth(sigma=[4 / float(s) for s in image.pixdim])(reaction)
            smooth = smooth / smooth.max().clamp_min(1e-12)
            name = item["case"]
            figure = saliency_figure(image, smooth, title=name)
            with atomic_write(self.folder / f"{name}.png") as temporary:
                figure.savefig(temporary, dpi=110)
            source = nib.load(image.meta["filename_or_obj"])
            grid = MetaTensor(torch.zeros(1, *source.shape[:3]), affine=torch.as_tensor(source.affine))
            on_grid = ResampleToMatch(mode="bilinear", padding_mode="zeros")(smooth, grid)[0]
            with atomic_write(self.folder / f"{name}.nii.gz") as temporary:
                nib.save(nib.Nifti1Image(on_grid.numpy().astype(np.float32), source.affine), temporary)
