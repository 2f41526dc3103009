"""Losses of unsupervised and semi-supervised registration."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ..networks.velocity import warped

SIMILARITIES = ("mse", "ncc")


def box_mean(image: torch.Tensor, width: int, stride: int = 1) -> torch.Tensor:
    """Mean over a box of `width` voxels along each axis, cut off at the borders, at every `stride`-th voxel.

    A product with a banded matrix along each axis: on CPUs ten times as fast as convolution or pooling.

    Args:
        image: (B, C, *size).
    """
    for axis in range(2, image.ndim):
        size = image.shape[axis]
        places = torch.arange(size, device=image.device)
        band = (places[::stride, None] - places[None]).abs() <= width // 2
        band = band.to(image) / band.sum(1, keepdim=True)
        image = (image.movedim(axis, -1) @ band.T).movedim(-1, axis)
    return image


class LocalNCC(nn.Module):
    """1 minus the squared local correlation of images (B, 1, *size): 0 where they agree up to local brightness and contrast.

    As MONAI's LocalNormalizedCrossCorrelationLoss plus 1 (a test compares them), in a fraction of the time: windows at every
    second voxel, sums by `box_mean`.

    Args:
        width: of the window in voxels, odd.
        stride: voxels from window to window.
    """

    def __init__(self, width: int = 7, stride: int = 2):
        super().__init__()
        if width % 2 == 0:
            raise ValueError(f"width is {width}, expected an odd number of voxels")
        self.width, self.stride = width, stride

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return 1 - self.squared(pred, target).mean()

    def squared(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Squared correlation in each window, (B, *windows)."""
        products = torch.cat([pred, target, pred * pred, target * target, pred * target], 1)
        p, t, pp, tt, pt = box_mean(products, self.width, self.stride).unbind(1)
        # variances below that of faint noise (intensities are about 0 to 1) would correlate by chance
        variances = (pp - p * p).clamp_min(1e-5) * (tt - t * t).clamp_min(1e-5)
        return (pt - p * t).square() / variances


class Smoothness(nn.Module):
    """Mean squared slope of a displacement field (B, n, *size), as VoxelMorph's gradient loss (l2)."""

    def forward(self, ddf: torch.Tensor) -> torch.Tensor:
        slopes = [torch.diff(ddf, dim=axis).square().mean() for axis in range(2, ddf.ndim)]
        return torch.stack(slopes).mean()


class RegistrationLoss(nn.Module):
    """Similarity of the moved and the fixed image, smoothness of the field, and where there are labels their overlap.

    Args:
        similarity: "mse" (squared difference) or "ncc" (local correlation).
        smoothness: weight of the field's slope; about 0.02 goes with mse, 1 with ncc.
        label_weight: of 1 minus the soft Dice of label maps; 0 ignores them.
        regions: how many label values, drawn anew every time among those in both maps, are compared.
        window: voxels of ncc's window.

    Raises:
        ValueError: another similarity.
    """

    def __init__(
        self, similarity: str = "ncc", smoothness: float = 1.0, label_weight: float = 0.0, regions: int = 24, window: int = 7
    ):
        super().__init__()
        if similarity not in SIMILARITIES:
            raise ValueError(f"similarity is '{similarity}', expected {' or '.join(SIMILARITIES)}")
        self.similarity = LocalNCC(window) if similarity == "ncc" else nn.MSELoss()
        self.smooth, self.smoothness = Smoothness(), smoothness
        self.label_weight, self.regions = label_weight, regions

    def forward(self, ddf: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
        """Displacement (B, n, *size) in voxels and a pair (B, 2 or 4, *size): moving, fixed and perhaps their label maps."""
        moving, fixed = pair[:, :1], pair[:, 1:2]
        loss = self.similarity(warped(moving, ddf), fixed) + self.smoothness * self.smooth(ddf)
        if self.label_weight and pair.shape[1] == 4:
            loss = loss + self.label_weight * self.overlap(ddf, pair[:, 2:])
        return loss

    def overlap(self, ddf: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """1 minus the mean soft Dice of some label values, at half resolution, where a block has a share of each value.

        Args:
            ddf: (B, n, *size).
            labels: (B, 2, *size): moving and fixed map; 0 is no value.
        """
        ddf = 0.5 * _halved(ddf)
        dice = []
        for field, pair in zip(ddf, labels, strict=True):
            values = [torch.unique(label) for label in pair]
            both = values[0][torch.isin(values[0], values[1]) & (values[0] != 0)]
            if not len(both):
                continue
            chosen = both[torch.randperm(len(both))[: self.regions].to(both.device)]
            moving, fixed = (_shares(label, chosen).to(field) for label in pair)
            moved, axes = warped(moving, field[None]), tuple(range(2, moving.ndim))
            dice.append((2 * (moved * fixed).sum(axes) / (moved.square() + fixed.square()).sum(axes)).mean())
        return 1 - torch.stack(dice).mean() if dice else ddf.sum() * 0


def _shares(labels: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """What share of every block of a label map (*size) has each of some values (K,): (1, K, *half)."""
    slots = torch.full((int(labels.max()) + 1,), len(values), device=labels.device)
    slots[values.long()] = torch.arange(len(values), device=labels.device)
    blocks = slots[labels.long()]
    for axis in range(labels.ndim):  # the voxels of a block one after the other along a new first axis
        blocks = blocks.unflatten(-labels.ndim + axis, (-1, 2)).movedim(-labels.ndim + axis, 0)
    half = blocks.shape[labels.ndim :]
    blocks = blocks.flatten(0, labels.ndim - 1).flatten(1)
    counts = torch.zeros(len(values) + 1, blocks.shape[1], device=labels.device)
    counts.scatter_add_(0, blocks, torch.full(blocks.shape, 1 / len(blocks), device=labels.device))
    return counts[None, :-1].unflatten(2, half)


def _halved(image: torch.Tensor) -> torch.Tensor:
    pool = F.avg_pool3d if image.ndim == 5 else F.avg_pool2d
    return pool(image, 2)
