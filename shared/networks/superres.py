"""Super-resolution: a residual network on the coarse grid, whose last layer fills every voxel with finer ones."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from monai.networks.blocks import Convolution, ResidualUnit
from torch import nn
from torch.nn import functional as F

from ..resolution import GRIDS, positions


def cubic_weights(position: float) -> list[float]:
    """Weights of the voxels -2 to 2 for cubic convolution (Keys 1981, a = -0.5) at a place between -1 and 1."""
    weights = []
    for voxel in range(-2, 3):
        x = abs(position - voxel)
        near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
        weights.append(near if x <= 1 else far if x < 2 else 0.0)
    return weights


class SuperResolutionNet(nn.Module):
    """Cubic interpolation plus what a residual network adds to it, after EDSR (Lim et al. 2017) in three dimensions.

    All convolutions work on the coarse grid; the last one has an output for every finer voxel, which sub-pixel shuffling
    (Shi et al. 2016) puts into place. One body serves both grids of `positions`, each has a last layer of its own.

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
        self.chosen = [grid in grids for grid in GRIDS]
        self.first = nn.Conv3d(1, channels, 3, padding=1)
        units = [
            ResidualUnit(3, channels, channels, subunits=2, norm=None, act="RELU", last_conv_only=True) for _ in range(blocks)
        ]
        self.body = nn.Sequential(*units, Convolution(3, channels, channels, conv_only=True))
        self.heads = nn.ModuleList([nn.Conv3d(channels, prod(self.factor), 3, padding=1) for _ in GRIDS])
        for head in self.heads:  # so that an untrained network interpolates
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        for axis, size in enumerate(self.factor):
            table = [[cubic_weights(p) for p in positions(size, grid)] for grid in GRIDS]
            self.register_buffer(f"cubic_{axis}", torch.tensor(table), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (B, 1, H, W, D), about 0 to 1, to (B, len(grids), fH, gW, hD) for factor [f, g, h]."""
        start = self.first(image)
        features = start + self.body(start)
        outputs = []
        for grid, head in enumerate(self.heads):
            if self.chosen[grid]:
                outputs.append(self.interpolate(image, grid) + self.shuffle(head(features)))
        return torch.cat(outputs, 1)

    def interpolate(self, image: torch.Tensor, grid: int) -> torch.Tensor:
        """Cubic interpolation onto a grid, given by its number; in the image's precision, also under autocast."""
        image = self.refine(image, self.cubic_0[grid], 2)
        image = self.refine(image, self.cubic_1[grid], 3)
        return self.refine(image, self.cubic_2[grid], 4)

    def refine(self, image: torch.Tensor, weights: torch.Tensor, axis: int) -> torch.Tensor:
        """Interpolate along an axis with weights (f, 5)."""
        count, length = weights.shape[0], image.shape[axis]
        if count == 1:
            return image
        pads = [0, 0, 0, 0, 0, 0]
        pads[2 * (4 - axis)] = 2
        pads[2 * (4 - axis) + 1] = 2
        padded = F.pad(image, pads, mode="replicate")
        phases = []
        for phase in range(count):
            total = weights[phase, 0] * padded.narrow(axis, 0, length)
            for tap in range(1, 5):
                total = total + weights[phase, tap] * padded.narrow(axis, tap, length)
            phases.append(total)
        return torch.stack(phases, axis + 1).flatten(axis, axis + 1)

    def shuffle(self, x: torch.Tensor) -> torch.Tensor:
        """(B, f * g * h, H, W, D) to (B, 1, fH, gW, hD)."""
        f, g, h = self.factor
        b, _, height, width, depth = x.shape
        x = x.reshape(b, f, g, h, height, width, depth).permute(0, 4, 1, 5, 2, 6, 3)
        return x.reshape(b, 1, f * height, g * width, h * depth)
