"""Pictures of volumes slice by slice: a montage of all, panels of truth, prediction and image."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents
from monai.transforms import Orientation

from ..montage import grid, outline, tile
from ..paths import atomic_write
from ..visualize import on_grid


class SliceMontages:
    """Save `<folder>/<case>.png` for every case: all its slices in reading order from the feet up, organs as outlines.

    Args:
        folder: where the pictures go.
        organs: label values of each organ in "pred" (1, H, W, D), `{"liver": [1], ...}`.
        most: slices shown; of more every second, third, ... is.
    """

    def __init__(self, folder: str | os.PathLike, organs: Mapping[str, Sequence[int]], most: int = 60):
        self.folder, self.organs, self.most = Path(folder), dict(organs), most

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            image, labels = _volumes(item["image"], output["pred"])
            masks = {values[0] - 1: np.isin(labels[0], values) for values in self.organs.values()}
            steps = range(0, image.shape[2], -(-image.shape[2] // self.most))
            tiles = [outline(part, {n: m[..., k] for n, m in masks.items()}) for k, part in _tiles(item["image"], image, steps)]
            _save(grid(tiles, 8), self.folder / f"{item['case']}.png")


class SlicePanels:
    """Save `<folder>/<case>.png` for every scored case: truth, prediction and image of slices from the feet up.

    Args:
        folder: where the pictures go.
        slices: how many, spread evenly over those that hold an organ in truth or prediction.
    """

    def __init__(self, folder: str | os.PathLike, slices: int = 12):
        self.folder, self.slices = Path(folder), slices

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            image, truth = _volumes(item["image"], output["label"])
            found = _volumes(item["image"], output["pred"])[1]
            filled = np.flatnonzero((truth > 0.5).any((0, 1, 2)) | (found > 0.5).any((0, 1, 2)))
            filled = filled if len(filled) else np.zeros(1, int)
            chosen = filled[np.linspace(0, len(filled) - 1, min(self.slices, len(filled))).round().astype(int)]
            tiles = []
            for k, grey in _tiles(item["image"], image, chosen):
                for masks in (truth, found, None):
                    shown = {} if masks is None else {n: mask[..., k] > 0.5 for n, mask in enumerate(masks)}
                    tiles.append(outline(grey.copy(), shown))
            _save(grid(tiles, 6), self.folder / f"{item['case']}.png")


def _volumes(image: MetaTensor, labels: MetaTensor) -> tuple[np.ndarray, np.ndarray]:
    """The preprocessed image (H, W, D), and labels (C, H, W, D) on its grid, both in RAS orientation."""
    orient = Orientation("RAS", labels=None)
    placed = orient(on_grid(labels, image)).as_tensor().numpy(force=True)
    return orient(image).as_tensor()[0].numpy(force=True), placed


def _tiles(original: MetaTensor, image: np.ndarray, slices: Sequence[int]):
    """Each slice's number and its grey tile."""
    width, height = (float(mm) for mm in Orientation("RAS", labels=None)(original).pixdim[:2])
    low, high = np.percentile(image[::3, ::3], [0.5, 99.5])
    for k in slices:
        yield int(k), tile(image[..., k], low, high, width / height)


def _save(picture: np.ndarray, path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        Image.fromarray(picture).save(temporary, compress_level=3)
