"""Where in a radiograph a decision comes from: Grad-CAM as a picture per film."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from monai.visualize import GradCAM

from .pictures import save_picture


def cam_figure(image: np.ndarray, heat: np.ndarray, title: str = ""):
    """A film (rows, columns) and beside it the same with a map 0..1 of its shape over it."""
    from matplotlib.figure import Figure  # slow to import, and runs without maps do not need it

    figure = Figure(figsize=(7, 3.8), facecolor="black", layout="constrained")
    for axis, shown in zip(figure.subplots(1, 2), (False, True), strict=True):
        axis.imshow(image, cmap="gray")
        if shown:
            axis.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.65 * np.clip(1.5 * heat, 0, 1))
        axis.set_axis_off()
    figure.suptitle(title, color="white", fontsize=10)
    return figure


class CamPictures:
    """Save `<folder>/<case>.png` per film: the image that the network saw, and what of it speaks for the disease.

    Grad-CAM (Selvaraju et al. 2017) by MONAI: activations of a layer, weighted by the mean gradient of the log odds; what
    speaks against the disease is cut off. Divided by its maximum, so that maps of different films cannot be compared.

    Args:
        folder: where the pictures go.
        network: that was used.
        layer: name of the layer.
        extra_keys: entries of an item that the network gets beside the image, by the names of its arguments.
    """

    def __init__(self, folder: str | os.PathLike, network: torch.nn.Module, layer: str, extra_keys: dict[str, str]):
        self.folder, self.network, self.layer, self.extra_keys = Path(folder), network, layer, dict(extra_keys)
        self.cam: GradCAM | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        device = next(self.network.parameters()).device
        if self.cam is None:
            # a copy: its hooks must not see the next film, which the network works on meanwhile
            self.cam = GradCAM(copy.deepcopy(self.network).eval(), self.layer, postprocessing=lambda heat: heat)
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            image = item["image"].as_tensor() if hasattr(item["image"], "as_tensor") else item["image"]
            extra = {name: item[key][None].to(device) for name, key in self.extra_keys.items()}
            with torch.enable_grad():
                heat = self.cam(image[None].to(device), class_idx=0, **extra)[0, 0].detach().cpu().numpy()
            heat = heat / max(float(heat.max()), 1e-12)
            title = f"{item['case']}: {output['class']} ({float(output['prob']):.2f})"
            figure = cam_figure(image[0].cpu().numpy(), heat, title)
            save_picture(figure, self.folder, item["case"])
