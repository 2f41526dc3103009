"""Surface distances in mm, and volumes compared."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from monai.metrics import CumulativeIterationMetric, HausdorffDistanceMetric, SurfaceDistanceMetric


class _InMillimetres:
    """Hand the voxel spacing that the reference carries in its affine to one of MONAI's metrics."""

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor, **kwargs):
        if not isinstance(y, MetaTensor):
            raise TypeError(f"the reference is a {type(y).__name__} without affine, expected a MetaTensor")
        spacing = [float(s) for s in y.pixdim.flatten()[: y.ndim - 2]]
        distance = super()._compute_tensor(y_pred.as_subclass(torch.Tensor), y.as_tensor(), spacing=spacing)
        return torch.where(torch.isfinite(distance), distance, torch.nan)


class HausdorffDistanceMM(_InMillimetres, HausdorffDistanceMetric):
    """MONAI's Hausdorff distance, measured in mm with the voxel spacing that the reference carries in its affine.

    Predictions and references are binarised (B, C, H, W, D) or lists of (C, H, W, D); the reference must be a MetaTensor.
    Where one of the two masks is empty there is no distance: the value is NaN or infinite and left out of the mean.

    Raises:
        TypeError: the reference carries no affine.
    """


class SurfaceDistanceMM(_InMillimetres, SurfaceDistanceMetric):
    """MONAI's average surface distance in mm, as `HausdorffDistanceMM`; ASSD with `symmetric=True`."""


class RelativeVolumeDifference(CumulativeIterationMetric):
    """By how much volumes differ, in percent of the reference, without sign: RAVD of the CHAOS challenge.

    Predictions and references are binarised (B, C, H, W, D) or lists of (C, H, W, D); NaN where the reference is empty.
    """

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor, **kwargs):
        found, wanted = (x.as_subclass(torch.Tensor).flatten(2).sum(2, dtype=torch.float64) for x in (y_pred, y))
        return torch.where(wanted > 0, 100 * (found - wanted).abs() / wanted, torch.nan).float()

    def aggregate(self) -> float:
        """The mean over cases and channels."""
        return float(self.get_buffer().nanmean())
