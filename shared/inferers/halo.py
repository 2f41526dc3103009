"""Tiles whose results are those of the whole image."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .window import WindowInferer

FLOOR = 1e-6  # weight of what is too near to a tile's edge; not 0, since nothing else covers the image's own border


class HaloInferer(WindowInferer):
    """A sliding window that trusts only the inner part of each tile, and blends neighbours there.

    Voxels nearer than `halo` to a tile's edge saw less of the image than the network looks at; they count only at the image's
    border, where the whole image has no more either. Further in, the weight rises to 1 over `ramp` voxels.

    Args:
        roi_size: tile in voxels; sides of the image that are shorter are taken whole.
        halo: voxels; at least the network's reach for results equal to those without tiles.
        ramp: voxels over which neighbours blend.
        batch: tiles at a time.

    Raises:
        ValueError: the tile is too small for halo and ramp.
    """

    def __init__(self, roi_size: Sequence[int], halo: int = 12, ramp: int = 4, batch: int = 1):
        rim = 2 * halo + ramp
        if min(roi_size) <= rim:
            raise ValueError(f"tile {list(roi_size)} is too small, expected more than {rim} voxels a side for a halo of {halo}")
        super().__init__(roi_size, sw_batch_size=batch, overlap=[rim / n for n in roi_size])
        self.halo, self.ramp = halo, ramp

    def __call__(self, inputs: torch.Tensor, network, *args, **kwargs):
        """(B, C, H, W, D) to what the network gives, whose sides may be multiples."""
        self.roi_weight_map = torch.ones(1, 1, 1, 1, 1)
        for axis, (side, tile) in enumerate(zip(inputs.shape[2:], self.roi_size, strict=True)):
            place = torch.arange(min(side, tile))
            depth = torch.minimum(place, place.flip(0))
            weight = ((depth - self.halo + 1) / self.ramp).clamp(FLOOR, 1) if side > tile else torch.ones(side)
            shape = [1, 1, 1, 1, 1]
            shape[2 + axis] = len(weight)
            self.roi_weight_map = self.roi_weight_map * weight.reshape(shape)
        return super().__call__(inputs, network, *args, **kwargs)
