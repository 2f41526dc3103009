"""What a coarse voxel collects and where finer ones lie, against SciPy, PyTorch's pooling, and values worked out by hand."""

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from shared.resolution import coarser_affine, degrade, finer_affine, interpolate, linear_weights, positions, rician

RNG = np.random.default_rng(5)


def volume(shape=(24, 16, 20)) -> torch.Tensor:
    return torch.from_numpy(ndimage.gaussian_filter(RNG.random(shape), 1).astype(np.float32))[None]


def test_positions_by_hand():
    assert positions(2, "block") == [-0.25, 0.25]
    assert positions(4, "block") == [-0.375, -0.125, 0.125, 0.375]
    assert positions(4, "sample") == [0, 0.25, 0.5, 0.75]
    with pytest.raises(ValueError, match="grid is 'corner', expected one of block, sample"):
        positions(2, "corner")


@pytest.mark.parametrize("factor", [2, 4])
def test_gaussian_on_the_sample_grid_is_filtering_and_taking_every_fth_voxel(factor):
    image = volume()
    found = degrade(image, [factor] * 3, "sample", "gaussian", 1.0)[0].numpy()
    sigma = factor / np.sqrt(8 * np.log(2))
    expected = ndimage.gaussian_filter(image[0].numpy(), sigma, truncate=5, mode="nearest")[::factor, ::factor, ::factor]
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("factor", [2, 4])
def test_average_pooling_is_that_of_pytorch(factor):
    image = volume()
    found = degrade(image, [factor] * 3, "block", "average_pooling")[0]
    pooled = torch.nn.functional.avg_pool3d(image, 2 * factor, factor, padding=factor // 2)[0]
    inner = (slice(1, -1),) * 3  # PyTorch pads with zeros
    torch.testing.assert_close(found[inner], pooled[inner])


def test_box_is_the_mean_of_the_slices():
    image = volume()
    found = degrade(image, [1, 1, 4], "block", "box")
    torch.testing.assert_close(found[0], image[0].reshape(24, 16, 5, 4).mean(-1))


def test_widths_differ_between_axes_and_wide_ones_blur_more():
    image = volume()
    narrow, wide, slices = (degrade(image, [2] * 3, width=w) for w in (0.8, 1.4, [0.8, 0.8, 1.4]))
    assert wide.std() < slices.std() < narrow.std()


@pytest.mark.parametrize("profile", ["gaussian", "box", "average_pooling"])
@pytest.mark.parametrize("grid", ["block", "sample"])
def test_a_ramp_in_mm_stays_where_it_was(profile, grid):
    """Every profile is symmetric about the place that the affine states, so values linear in mm do not change."""
    fine_affine = np.eye(4)
    fine_affine[:3, :3] = Rotation.from_euler("xyz", [20, -10, 35], degrees=True).as_matrix() @ np.diag([-1, 1.5, 2])
    fine_affine[:3, 3] = [3, -40, 12]
    shape, factor = (32, 24, 40), [2, 4, 4]
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    ramp = np.tensordot(fine_affine[:3, :3], index, 1) + fine_affine[:3, 3, None, None, None]
    coarse = degrade(torch.from_numpy(ramp), factor, grid, profile).numpy()
    affine = coarser_affine(fine_affine, factor, grid)
    for voxel in [(5, 3, 5), (8, 2, 4), (10, 3, 6)]:
        np.testing.assert_allclose(coarse[(slice(None), *voxel)], nib.affines.apply_affine(affine, voxel), atol=1e-6)
    np.testing.assert_allclose(finer_affine(affine, factor, grid), fine_affine, atol=1e-12)


@pytest.mark.parametrize("grid", ["block", "sample"])
def test_interpolation_meets_a_ramp(grid):
    ramp = np.arange(12.0)[:, None, None] * np.ones((1, 6, 6))
    for order in (1, 3):
        found = interpolate(ramp, [4, 1, 2], grid, order)
        assert found.shape == (48, 6, 12)
        inner = found[16:32, 3, 6]
        expected = 4 + np.arange(16) / 4 + positions(4, grid)[0]
        np.testing.assert_allclose(inner, expected, atol=2e-3)


def test_nearest_takes_the_voxel_that_holds_it():
    found = interpolate(np.arange(4.0)[:, None, None] * np.ones((1, 2, 2)), [2, 1, 1], "block", 0)
    assert found[:, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_linear_estimate_is_least_squares():
    """Against the filter fitted to many long rows of the stated correlation, by solving the normal equations."""
    factor, rows, length = 2, 400, 200
    rows = RNG.standard_normal((rows, length))
    for i in range(1, length):
        rows[:, i] = 0.75 * rows[:, i - 1] + np.sqrt(1 - 0.75**2) * rows[:, i]
    coarse = degrade(torch.from_numpy(rows)[None, :, :, None], [1, factor, 1], "sample")[0, :, :, 0].numpy()
    coarse = coarse + 0.1 * RNG.standard_normal(coarse.shape)
    seen = np.lib.stride_tricks.sliding_window_view(coarse, 9, axis=1)
    for phase in range(factor):
        wanted = rows[:, factor * 4 + phase :: factor][:, : seen.shape[1]]
        fitted = np.linalg.lstsq(seen.reshape(-1, 9), wanted.ravel(), rcond=None)[0]
        np.testing.assert_allclose(linear_weights(factor, "sample")[phase], fitted / fitted.sum(), atol=0.05)
    np.testing.assert_allclose(linear_weights(4, "block"), linear_weights(4, "block")[::-1, ::-1])
    assert linear_weights(1, "block").tolist() == [[1]]


def test_rician_noise_in_air_has_the_mean_of_a_rayleigh_distribution():
    noisy = rician(torch.zeros(1, 40, 40, 40), 2.0, np.random.RandomState(0))
    assert float(noisy.mean()) == pytest.approx(2 * np.sqrt(np.pi / 2), rel=0.01)


def test_what_cannot_be_divided_and_unknown_profiles_are_refused():
    with pytest.raises(ValueError, match=r"shape \(24, 16, 20\) has sides that are no multiples of factor \[3, 3, 3\]"):
        degrade(volume(), [3, 3, 3])
    with pytest.raises(ValueError, match="profile is 'sinc', expected one of gaussian, box, average_pooling"):
        degrade(volume(), [2, 2, 2], profile="sinc")
