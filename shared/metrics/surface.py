"""Surface distances in mm."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from monai.metrics import HausdorffDistanceMetric


class HausdorffDistanceMM(HausdorffDistanceMetric):
    """MONAI's Hausdorff distance, measured in mm with the voxel spacing that the reference carries in its affine.

    Predictions and references are binarised (B, C, H, W, D) or lists of (C, H, W, D); the reference must be a MetaTensor.
    Where one of the two masks is empty there is no distance: the value is NaN or infinite and left out of the mean.

    Raises:
        TypeError: the reference carries no affine.
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor, **kwargs):
        if not isinstance(y, MetaTensor):
            raise TypeError(f"the reference is a {type(y).__name__} without affine, expected a MetaTensor")
        spacing = [float(s) for s in y.pixdim.flatten()[: y.ndim - 2]]
        distance = super()._compute_tensor(y_pred.as_subclass(torch.Tensor), y.as_tensor(), spacing=spacing)
        return torch.where(torch.isfinite(distance), distance, torch.nan)
