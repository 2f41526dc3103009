"""Whole heads at half the resolution, with classes for every voxel."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .regional import HalfResolution, blocks


def voxels(channels: torch.Tensor) -> torch.Tensor:
    """(B, 8 C, H, W, D) to (B, C, 2 H, 2 W, 2 D): undoes `blocks`."""
    b, c, h, w, d = channels.shape
    split = channels.reshape(b, c // 8, 2, 2, 2, h, w, d)
    return split.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // 8, 2 * h, 2 * w, 2 * d)


class HalfResolutionSegmenter(nn.Module):
    """Classes of every voxel at little more than the cost of half the resolution.

    Context comes from a network that sees blocks of 2x2x2 voxels and where they lie (`HalfResolution`). Detail comes from a
    convolution over the blocks' eight intensities. Both together decide about the eight voxels of a block, so thin structures
    are not lost.

    Args:
        network: (B, 8 in_channels + 3, H/2, W/2, D/2) to features (B, features, H/2, W/2, D/2).
        features: its output channels.
        in_channels: of the image.
        out_channels: classes.
        detail: channels of the convolution over blocks.
    """

    def __init__(self, network: nn.Module, features: int, in_channels: int, out_channels: int, detail: int = 32):
        super().__init__()
        self.context = HalfResolution(network)
        self.detail = nn.Conv3d(8 * in_channels, detail, kernel_size=3, padding=1)
        self.mix = nn.Conv3d(features + detail, 64, kernel_size=1)
        self.classes = nn.Conv3d(64, 8 * out_channels, kernel_size=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, in_channels, H, W, D) to logits (B, out_channels, H, W, D); sides are twice what `network` can digest."""
        detail = F.leaky_relu(self.detail(blocks(image)), 0.01)
        mixed = F.leaky_relu(self.mix(torch.cat([self.context(image), detail], 1)), 0.01)
        return voxels(self.classes(mixed))
