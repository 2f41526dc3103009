"""The loss of super-resolution: intensities and their slopes."""

from __future__ import annotations

import torch
from torch import nn


class SuperResolutionLoss(nn.Module):
    """Mean absolute difference of intensities, plus that of their slopes, which keeps edges sharp.

    Args:
        slope_weight: of the mean absolute difference between neighbouring voxels' differences along each axis.
    """

    def __init__(self, slope_weight: float = 0.1):
        super().__init__()
        self.slope_weight = slope_weight

    def forward(self, pred: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Both (B, C, H, W, D); channels of the truth that are NaN are not known and do not count."""
        known = torch.isfinite(truth[:, :, 0, 0, 0])
        error = pred[known].float() - truth[known].float()
        slopes = torch.stack([torch.diff(error, dim=axis).abs().mean() for axis in (1, 2, 3)]).mean()
        return error.abs().mean() + self.slope_weight * slopes
