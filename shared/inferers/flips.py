"""The mean of what a network says about an image and its mirror images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from monai.inferers import Inferer

from ..resolution import positions


class FlipsInferer(Inferer):
    """Mean of super-resolved mirror images, each mirrored back (self-ensemble of EDSR, Lim et al. 2017).

    Where the first finer voxel shares a coarse one's centre (grid "sample"), mirroring moves the finer voxels, by factor - 1 of
    them; they are brought back, and the last ones of an axis, which a mirror image does not have, are the mean of the others.

    Args:
        inferer: that runs the network on (B, 1, H, W, D), giving (B, len(grids), fH, gW, hD) for factor [f, g, h].
        axes: that are mirrored, of 0 to 2; all combinations of them are taken, so 3 axes make 8 images.
        factor: finer voxels per voxel along each axis.
        grids: of the output's channels, see `shared.resolution.positions`.
    """

    def __init__(self, inferer: Inferer, axes: Sequence[int], factor: Sequence[int], grids: Sequence[str]):
        super().__init__()
        self.inferer, self.axes = inferer, list(axes)
        # how far finer voxels of a mirror image lie from those of the image along each axis, for each grid
        self.moved = [[round(f - 1 + 2 * f * positions(f, grid)[0]) for f in factor] for grid in grids]

    def __call__(self, inputs: torch.Tensor, network, *args, **kwargs) -> torch.Tensor:
        total = self.inferer(inputs, network, *args, **kwargs).float()
        count = torch.ones_like(total)
        for axes in [c for n in range(1, len(self.axes) + 1) for c in combinations(self.axes, n)]:
            dims = [axis + 2 for axis in axes]
            result = self.inferer(inputs.flip(dims), network, *args, **kwargs).float().flip(dims)
            for channel, moved in enumerate(self.moved):
                steps = [moved[axis] if axis in axes else 0 for axis in range(3)]
                there = (slice(None), channel, *(slice(0, n - s) for n, s in zip(result.shape[2:], steps, strict=True)))
                seen = (slice(None), channel, *(slice(s, None) for s in steps))
                total[there] += result[seen]
                count[there] += 1
        return total / count
