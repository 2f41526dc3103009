"""Bring the intensities of a head to about 0 to 1, and find the head for it."""

from __future__ import annotations

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from scipy import ndimage

from .head import AIR

LEAST_SIDE = 4  # voxels: a photograph or a single slice is no volume


def head_mask(image: np.ndarray) -> np.ndarray:
    """The head in a volume (H, W, D) with air near 0: the largest piece brighter than air, with its holes.

    Air ends at 15 % of the 99th percentile of what is not zero, so that it does not matter how much of the image is empty.

    Raises:
        ValueError: nothing is above zero.
    """
    bright = image > AIR * np.percentile(image[image > 0], 99) if (image > 0).any() else np.zeros(image.shape, bool)
    pieces, count = ndimage.label(bright)
    if not count:
        raise ValueError("no head found: no voxel is above zero")
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    return ndimage.binary_fill_holes(largest)


def head_scale(image: np.ndarray) -> float:
    """The 99.9th percentile of the intensities in the head, which stands for "white" whatever the field of view."""
    return float(np.percentile(image[head_mask(image)], 99.9))


class ScaleHeadd(MapTransform):
    """Divide each channel of images (C, H, W, D) by its `head_scale`; item["<key>_scale"] becomes these numbers, a tensor (C,).

    Raises:
        ValueError: no head found, or a side of less than 4 voxels; the message names the file.
    """

    def __init__(self, keys: KeysCollection):
        super().__init__(keys)

    def __call__(self, data):
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            try:
                if min(image.shape[1:]) < LEAST_SIDE:
                    raise ValueError(
                        f"expected a volume of {LEAST_SIDE} voxels a side or more, found shape {tuple(image.shape[1:])}"
                    )
                scale = torch.tensor([head_scale(channel.numpy(force=True)) for channel in image], dtype=torch.float64)
            except ValueError as error:
                raise ValueError(f"{image.meta.get('filename_or_obj', key)}: {error}") from None
            item[key] = image / scale[:, None, None, None].to(image)
            item[f"{key}_scale"] = scale
        return item
