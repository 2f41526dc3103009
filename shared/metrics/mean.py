"""The mean of a number that every case already has."""

from __future__ import annotations

import torch
from monai.metrics import CumulativeIterationMetric


class CaseMean(CumulativeIterationMetric):
    """Mean over all cases of an epoch, of all processes, of (B, 1) or lists of (1,); NaN (unknown) is left out."""

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs):
        return y_pred.reshape(-1, 1).float()

    def aggregate(self) -> float:
        return float(self.get_buffer().nanmean())
