"""Super-resolution: a linear estimate, and a residual network on the coarse grid that adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from monai.networks.blocks import Convolution, ResidualUnit
from torch import nn
from torch.nn import functional as F

from ..resolution import GRIDS, linear_weights

DETAIL = 4.0  # about what brings the details to the size of the intensities


class SuperResolutionNet(nn.Module):
    """The best linear estimate plus what a residual network adds to it, after EDSR (Lim et al. 2017) in three dimensions.

    The estimate is that of `shared.resolution.linear_weights` along each axis in turn. The network sees the image and how the
    estimate differs from it in the voxels' middles, which is where the detail is. All its convolutions work on the coarse
    grid; the last one has an output for every finer voxel, which sub-pixel shuffling (Shi et al. 2016) puts into place. One
    body serves both grids of `shared.resolution.positions`, each has a last layer of its own.

    Args:
        factor: finer voxels per voxel along each axis, as [2, 2, 2], or [1, 1, 4] for thick slices.
        channels: of the body.
        blocks: residual blocks of two convolutions each.
        grids: the grids that the output has, a channel each; weights are the same for any choice.
    """

    def __init__(self, factor: Sequence[int], channels: int = 32, blocks: int = 8, grids: Sequence[str] = GRIDS):
        super().__init__()
        if len(factor) != 3 or any(int(f) != f or f < 1 for f in factor) or prod(factor) == 1:
            raise ValueError(f"factor is {list(factor)}, expected three whole numbers of 1 or more, not all 1")
        self.factor = [int(f) for f in factor]
        self.sample, self.detail = GRIDS.index("sample"), DETAIL  # TorchScript knows no constants of modules
        self.chosen = [grid in grids for grid in GRIDS]
        self.first = nn.Conv3d(2, channels, 3, padding=1)
        units = [
            ResidualUnit(3, channels, channels, subunits=2, norm=None, act="RELU", last_conv_only=True) for _ in range(blocks)
        ]
        self.body = nn.Sequential(*units, Convolution(3, channels, channels, conv_only=True))
        self.heads = nn.ModuleList([nn.Conv3d(channels, prod(self.factor), 3, padding=1) for _ in GRIDS])
        for head in self.heads:  # so that an untrained network gives the linear estimate
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        for axis, size in enumerate(self.factor):
            table = np.stack([linear_weights(size, grid) for grid in GRIDS])
            self.register_buffer(f"linear_{axis}", torch.from_numpy(table).float(), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (B, 1, H, W, D), about 0 to 1, to (B, len(grids), fH, gW, hD) for factor [f, g, h]."""
        tables = [self.linear_0, self.linear_1, self.linear_2]
        sharp = image
        for axis, table in enumerate(tables):
            sharp = self.along(sharp, table[self.sample, 0], axis + 2)
        start = self.first(torch.cat([image, self.detail * (sharp - image)], 1))
        features = start + self.body(start)
        outputs = []
        for grid, head in enumerate(self.heads):
            if self.chosen[grid]:
                fine = image
                for axis, table in enumerate(tables):
                    phases = [self.along(fine, table[grid, phase], axis + 2) for phase in range(self.factor[axis])]
                    fine = torch.stack(phases, axis + 3).flatten(axis + 2, axis + 3)
                outputs.append(fine + self.shuffle(head(features)))
        return torch.cat(outputs, 1)

    def along(self, image: torch.Tensor, weights: torch.Tensor, axis: int) -> torch.Tensor:
        """Weighted sum of neighbours along an axis; not a convolution, since autocast would round it to three digits."""
        if weights.shape[0] == 1:
            return image
        reach, pads = weights.shape[0] // 2, [0, 0, 0, 0, 0, 0]
        pads[2 * (4 - axis)] = reach
        pads[2 * (4 - axis) + 1] = reach
        padded = F.pad(image, pads, mode="replicate")
        total = torch.zeros_like(image)
        for tap in range(weights.shape[0]):
            total = total + weights[tap] * padded.narrow(axis, tap, image.shape[axis])
        return total

    def shuffle(self, x: torch.Tensor) -> torch.Tensor:
        """(B, f * g * h, H, W, D) to (B, 1, fH, gW, hD)."""
        f, g, h = self.factor
        b, _, height, width, depth = x.shape
        x = x.reshape(b, f, g, h, height, width, depth).permute(0, 4, 1, 5, 2, 6, 3)
        return x.reshape(b, 1, f * height, g * width, h * depth)
