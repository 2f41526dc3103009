"""Tiles whose results are those of the whole image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.inferers import SlidingWindowInferer

FLOOR = 1e-6  # weight of what is too near to a tile's edge; not 0, since nothing else covers the image's own border


class HaloInferer(SlidingWindowInferer):
    """MONAI's sliding window, trusting only the inner part of each tile, where neighbours are blended.

    Voxels nearer than `halo` to a tile's edge saw less of the image than the network looks at; they count only at the image's
    border, where the whole image has no more either. Further in, the weight rises to 1 over `ramp` voxels. Along each axis
    the tiles are of equal size, as large as `roi_size` at most; an image that fits into one is not cut.

    Args:
        roi_size: largest tile in voxels.
        halo: voxels; with the network's reach, results equal those without tiles.
        ramp: voxels over which neighbours blend.

    Raises:
        ValueError: the tile is too small: neighbours' halos could touch.
    """

    def __init__(self, roi_size: Sequence[int], halo: int = 10, ramp: int = 4):
        least = 4 * halo + ramp
        if min(roi_size) < least:
            raise ValueError(f"tile {list(roi_size)} is too small, expected {least} voxels a side or more for a halo of {halo}")
        super().__init__(roi_size)
        self.largest, self.halo, self.ramp = tuple(roi_size), halo, ramp

    def __call__(self, inputs: torch.Tensor, network, *args, **kwargs):
        """(B, C, H, W, D) to what the network gives, whose sides may be multiples."""
        rim = 2 * self.halo + self.ramp
        self.roi_size, self.overlap = [], []
        self.roi_weight_map = torch.ones(1, 1, 1, 1, 1)
        for axis, (side, largest) in enumerate(zip(inputs.shape[2:], self.largest, strict=True)):
            count = max(1, -(-(side - rim) // (largest - rim)))
            tile = -(-(side + (count - 1) * rim) // count)
            self.roi_size.append(tile)
            self.overlap.append((rim - 0.5) / tile if count > 1 else 0)  # half, since MONAI rounds the step down
            place = torch.arange(tile)
            depth = torch.minimum(place, place.flip(0))
            weight = ((depth - self.halo + 1) / self.ramp).clamp(FLOOR, 1) if count > 1 else torch.ones(tile)
            shape = [1, 1, 1, 1, 1]
            shape[2 + axis] = tile
            self.roi_weight_map = self.roi_weight_map * weight.reshape(shape)
        return super().__call__(inputs, network, *args, **kwargs)
