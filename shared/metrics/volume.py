"""Differences between volumes."""

from __future__ import annotations

import torch
from monai.metrics import CumulativeIterationMetric


class VolumeDifference(CumulativeIterationMetric):
    """Absolute difference between predicted and reference volume in percent of the reference's, as MRBrainS13 scores it.

    Predictions and references are binarised (B, C, H, W, D) or lists of (C, H, W, D); NaN where the reference is empty. The
    aggregate is the mean over cases and channels, without NaN.
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor, **kwargs):
        found, true = (t.as_subclass(torch.Tensor).flatten(2).sum(2, dtype=torch.float32) for t in (y_pred, y))
        return torch.where(true > 0, 100 * (found - true).abs() / true, torch.nan)

    def aggregate(self) -> float:
        return float(self.get_buffer().nanmean())
