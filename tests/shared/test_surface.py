import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from shared.metrics import HausdorffDistanceMM, RelativeVolumeDifference, SurfaceDistanceMM

SPACING = (1.0, 2.0, 3.5)


def reference(mask):
    return MetaTensor(torch.as_tensor(mask).float()[None], affine=torch.diag(torch.tensor([-SPACING[0], *SPACING[1:], 1.0])))


def surface_points(mask):
    return np.argwhere(mask & ~binary_erosion(mask)) * SPACING


def test_hd95_in_mm_agrees_with_all_pairs_of_surface_points():
    rng = np.random.default_rng(0)
    truth = np.zeros((16, 14, 12), bool)
    truth[4:10, 3:9, 2:8] = True
    pred = np.zeros_like(truth)
    pred[5:13, 4:9, 3:10] = rng.random((8, 5, 7)) < 0.9
    distances = cdist(surface_points(pred), surface_points(truth))
    expected = max(np.percentile(distances.min(1), 95), np.percentile(distances.min(0), 95))
    metric = HausdorffDistanceMM(percentile=95, include_background=True)
    metric([reference(pred)], [reference(truth)])
    assert metric.aggregate().item() == pytest.approx(expected, abs=1e-3)


def test_assd_in_mm_is_the_mean_over_both_surfaces():
    truth = np.zeros((16, 14, 12), bool)
    truth[4:10, 3:9, 2:8] = True
    pred = np.zeros_like(truth)
    pred[5:13, 4:9, 3:10] = True
    distances = cdist(surface_points(pred), surface_points(truth))
    expected = np.concatenate([distances.min(1), distances.min(0)]).mean()
    metric = SurfaceDistanceMM(symmetric=True, include_background=True)
    metric([reference(pred)], [reference(truth)])
    assert metric.aggregate().item() == pytest.approx(expected, abs=1e-3)


def test_relative_volume_difference_by_hand():
    truth, pred = np.zeros((2, 8, 8, 8), bool)
    truth[:4, :5, 0], pred[:4, :6, 3] = True, True  # 20 and 24 voxels
    metric = RelativeVolumeDifference()
    metric([reference(pred), reference(pred), reference(truth)], [reference(truth), reference(0 * truth), reference(pred)])
    first, empty, other = metric.get_buffer().flatten().tolist()
    assert (first, other) == pytest.approx((20.0, 100 * 4 / 24)) and np.isnan(empty)
    assert metric.aggregate() == pytest.approx((20 + 100 * 4 / 24) / 2)


def test_hd_of_a_shift_along_the_thick_axis_is_the_shift_in_mm():
    truth, pred = np.zeros((2, 12, 12, 12), bool)
    truth[3:6, 3:6, 3:6], pred[3:6, 3:6, 5:8] = True, True
    metric = HausdorffDistanceMM(percentile=100, include_background=True)
    metric([reference(pred)], [reference(truth)])
    assert metric.aggregate().item() == pytest.approx(7.0)


def test_an_empty_mask_has_no_distance_and_is_left_out_of_the_mean():
    mask = np.zeros((8, 8, 8), bool)
    mask[2:5, 2:5, 2:5] = True
    metric = HausdorffDistanceMM(percentile=95, include_background=True)
    metric([reference(np.zeros_like(mask)), reference(mask)], [reference(mask), reference(mask)])
    assert torch.isnan(metric.get_buffer()).flatten().tolist() == [True, False]
    assert metric.aggregate().item() == 0


def test_a_reference_without_affine_is_refused():
    with pytest.raises(TypeError, match="without affine"):
        HausdorffDistanceMM(percentile=95)([torch.zeros(1, 4, 4, 4)], [torch.zeros(1, 4, 4, 4)])
