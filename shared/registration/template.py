"""The average of heads: a common position and size for all of them, and a first atlas."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from scipy.linalg import expm, logm

from ..paths import atomic_write
from .affine import CRANIUM_MM, align, coarse, cranium, matrix_of

ABOVE_MM = 0.0  # of air: the box ends at the top of the head, which leaves room for the cerebellum below
BEHIND_MM = 4.0  # the middle of the brain lies behind the middle of the cranium
logger = logging.getLogger(__name__)


def on_grid(image: MetaTensor, transform: np.ndarray, grid: MetaTensor, mode: str | int = "bilinear") -> MetaTensor:
    """An image (C, H, W, D) at the voxels of a grid, where `transform` (mm of the grid to mm of the image) takes these.

    Returns:
        (C, h, w, d) whose affine leads from its voxels to mm in the image: the grid as it lies in the image's space.
    """
    resample = SpatialResample(mode=mode, padding_mode="zeros", dtype=torch.float32)
    return resample(image, dst_affine=torch.from_numpy(transform @ matrix_of(grid)), spatial_size=grid.shape[1:])


def average_head(heads: Sequence[MetaTensor], size: Sequence[int], spacing: float = 2.0, rounds: int = 3) -> MetaTensor:
    """The mean of heads after affine registration to it, in their mean position and of their mean size.

    Starts with the first head as it lies. Every round aligns all heads with the average so far; then the average takes the
    pose and size that the heads have in the mean, so that none is preferred.

    Args:
        heads: each (1, H, W, D) with affine in RAS mm.
        size: voxels of the average.
        spacing: of its voxels, in mm.
        rounds: how often the heads are aligned.

    Returns:
        (1, *size) in RAS orientation; white matter is about 1, as every head is divided by its mean there.
    """
    affine = np.diag([spacing, spacing, spacing, 1.0])
    top = cranium(*coarse(heads[0], 8.0)) + [0, -BEHIND_MM, CRANIUM_MM + ABOVE_MM]
    # the middle of the box: in the middle of the cranium, its upper side above the top of the head
    affine[:3, 3] = top - np.array([0.5, 0.5, 1.0]) * (np.array(size) - 1) * spacing
    average = MetaTensor(torch.zeros(1, *size), affine=torch.from_numpy(affine))
    average = scaled(on_grid(heads[0], np.eye(4), average))
    average = MetaTensor(average.as_tensor(), affine=torch.from_numpy(affine))
    for number in range(rounds):
        transforms = [align(head, average) for head in heads]
        middle = affine @ [*((np.array(size) - 1) / 2), 1]
        linear = expm(np.mean([np.real(logm(t[:3, :3])) for t in transforms], axis=0))
        back = np.eye(4)
        back[:3, :3] = np.linalg.inv(linear)
        back[:3, 3] = middle[:3] - back[:3, :3] @ middle[:3]
        images = [scaled(on_grid(head, t @ back, average)).as_tensor() for head, t in zip(heads, transforms, strict=True)]
        average = MetaTensor(torch.stack(images).mean(0), affine=torch.from_numpy(affine))
        logger.info(f"average of {len(heads)} heads, round {number + 1} of {rounds}")
    return average


def scaled(image: MetaTensor) -> MetaTensor:
    """An image divided by its 95th percentile, which is near the intensity of white matter in the atlas's field of view."""
    return image / torch.quantile(image.as_tensor().flatten()[::7], 0.95).clamp_min(1e-6)


def save_atlas(path: str | os.PathLike, image: np.ndarray, affine: np.ndarray) -> None:
    """Write an atlas (H, W, D) with intensities of about 0 to 1 as NIfTI, int16 in thousandths."""
    saved = nib.Nifti1Image(np.clip(np.rint(image * 1000), 0, 32767).astype(np.int16), affine)
    saved.header.set_xyzt_units("mm")
    saved.set_qform(affine, 1)
    with atomic_write(path) as temporary:
        nib.save(saved, temporary)


def write_average(data: Sequence[dict], load: Callable, size: Sequence[int], path: str | os.PathLike) -> None:
    """Average the heads of a datalist and save the result.

    Args:
        data: items with an image file.
        load: makes of them an "image" (1, H, W, D) with affine.
        size: voxels of 2 mm.
        path: the NIfTI file.
    """
    average = average_head([load(item)["image"] for item in data], size)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    save_atlas(path, average[0].numpy(), matrix_of(average))
    logger.info(f"average of {len(data)} heads: {path}")


def mean_image(dataset: Sequence[dict], atlas: str | os.PathLike) -> MetaTensor:
    """The mean (1, *size) of a dataset's images on the grid of an atlas, with that grid's affine."""
    total = sum(item["image"].as_subclass(torch.Tensor) for item in dataset)
    return MetaTensor(total / len(dataset), affine=torch.from_numpy(nib.load(atlas).affine))
