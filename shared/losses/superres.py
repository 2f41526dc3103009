"""The loss of super-resolution: intensities and their slopes."""

from __future__ import annotations

import torch
from torch import nn

FLOOR = 0.02  # of the data range: an error that is good enough, so that empty patches do not count more than heads


class SuperResolutionLoss(nn.Module):
    """Mean difference of intensities, plus that of their slopes, which keeps edges sharp, on a logarithmic scale.

    The logarithm is taken for every patch, as PSNR does for every image: smooth images, whose differences are small, count as
    much as sharp ones.

    Args:
        slope_weight: of the mean difference between neighbouring voxels' differences along each axis.
        power: 1 for absolute differences, 2 for squared ones, which is what PSNR is about.

    Raises:
        ValueError: another power.
    """

    def __init__(self, slope_weight: float = 0.1, power: int = 1):
        super().__init__()
        if power not in (1, 2):
            raise ValueError(f"power is {power}, expected 1 or 2")
        self.slope_weight, self.power = slope_weight, power

    def forward(self, pred: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Of (B, C, H, W, D) and the truth (B, C + 1, H, W, D).

        The truth's last channel is how much each voxel counts; channels that are NaN are not known and do not count.
        """
        truth, weights = truth[:, :-1].float(), truth[:, -1:].float().expand_as(pred)
        known = torch.isfinite(truth[:, :, 0, 0, 0])
        error, weights = pred[known].float() - truth[known], weights[known]
        slopes = [self.size(error.diff(dim=axis), weights.narrow(axis, 1, error.shape[axis] - 1)) for axis in (1, 2, 3)]
        size = self.size(error, weights) + self.slope_weight * sum(slopes) / 3
        return (size + FLOOR**self.power).log().mean() / self.power

    def size(self, error: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Weighted mean over the voxels of each patch, both (N, H, W, D): (N,)."""
        size = error.abs() if self.power == 1 else error.square()
        return (size * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3))
