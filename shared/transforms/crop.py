"""Random patches that hold at least a given share of foreground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, SpatialCropd, SpatialPadd


def foreground_share(mask: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Share of foreground voxels in the patch that starts at each position.

    Args:
        mask: (H, W, D), foreground above 0.
        size: patch size in voxels, not larger than the mask.

    Returns:
        (H - h + 1, W - w + 1, D - d + 1), float64 in 0..1, from a summed-area table.
    """
    table = (mask > 0).to(torch.float64)
    for axis, width in enumerate(size):
        sums = torch.cumsum(table, axis)
        sums = torch.cat([torch.zeros_like(sums.narrow(axis, 0, 1)), sums], axis)
        table = sums.narrow(axis, width, sums.shape[axis] - width) - sums.narrow(axis, 0, sums.shape[axis] - width)
    return table / float(np.prod(size))


class RandShareCropd(Randomizable, MapTransform):
    """Draw patches whose share of foreground is at least `min_share`, uniformly among all places where that holds.

    A volume smaller than the patch is padded with zeros. Where no place reaches the share, the patch with the largest share
    is taken. The idea of a least tumour share per patch is that of the BraTS chapter (4 % of 180x160x24 voxels).

    Args:
        keys: what is cropped, each (C, H, W, D).
        mask_key: foreground is where any channel of this item is above 0.
        roi_size: patch size in voxels.
        num_samples: patches per volume.
        min_share: least share of foreground voxels, 0..1.

    Returns:
        a list of `num_samples` items.
    """

    def __init__(
        self, keys: KeysCollection, mask_key: str, roi_size: Sequence[int], num_samples: int = 1, min_share: float = 0.0
    ):
        super().__init__(keys)
        if not 0 <= min_share <= 1:
            raise ValueError(f"min_share is {min_share}, expected a share between 0 and 1")
        self.mask_key, self.roi_size = mask_key, tuple(int(n) for n in roi_size)
        self.num_samples, self.min_share = int(num_samples), min_share
        self.pad = SpatialPadd(self.keys, spatial_size=self.roi_size)

    def __call__(self, data, lazy: bool = False):
        item = self.pad(dict(data))
        share = foreground_share(item[self.mask_key].amax(0), self.roi_size)
        places = torch.nonzero(share.flatten() >= min(self.min_share, float(share.max())))[:, 0]
        patches = []
        for _ in range(self.num_samples):
            place = int(places[self.R.randint(len(places))])
            start = np.array(np.unravel_index(place, share.shape))
            patches.append(SpatialCropd(self.keys, roi_start=start, roi_end=start + self.roi_size)(item))
        return patches
