"""Affine registration of heads, against transforms that are known."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation

from shared.registration.affine import AlignmentError, align, check_overlap, coarse, voxels_mm
from shared.registration.template import average_head, on_grid
from tools.anatomy import grid_mm
from tools.head import head


@pytest.fixture(scope="module")
def fixed() -> MetaTensor:
    shape, spacing = (46, 56, 52), (4.0, 4.0, 4.0)
    right, front, up = grid_mm(shape, spacing)
    values, _ = head(np.random.default_rng(0), np.stack([right, front, up - 25]), spacing, 40, "F")
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return MetaTensor(torch.from_numpy(values.astype(np.float32))[None], affine=torch.from_numpy(affine))


def moved(image: MetaTensor, transform: np.ndarray, affine: np.ndarray, shape) -> MetaTensor:
    """The head as it looks after `transform` (mm here to mm there) has moved it, on another grid."""
    grid = MetaTensor(torch.zeros(1, *shape), affine=torch.from_numpy(affine))
    values = on_grid(image, np.linalg.inv(transform), grid)
    return MetaTensor(values.as_tensor(), affine=torch.from_numpy(affine))


def known(angles, shift, scale=(1, 1, 1)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(scale)
    matrix[:3, 3] = shift
    return matrix


def grid(axes, shape=(60, 64, 60), spacing=(4, 4, 4)) -> np.ndarray:
    """Voxels to mm; `axes` are the rows of a signed permutation."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(axes) @ np.diag(spacing)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2 + [3, -8, 5]
    return affine


AXES = {"RAS": np.eye(3), "LPS": np.diag([-1, -1, 1]), "PSR": [[0, 0, 1], [-1, 0, 0], [0, 1, 0]]}
MOTIONS = {
    "shift": known((0, 0, 0), (15, -20, 12)),
    "turned": known((12, -6, 8), (5, 8, -10)),
    "stretched": known((5, 3, -4), (-8, 5, 6), (1.08, 0.94, 1.05)),
}


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("motion", MOTIONS)
def test_a_known_transform_is_found(fixed, axes, motion):
    moving = moved(fixed, MOTIONS[motion], grid(AXES[axes]), (60, 64, 60))
    found = align(moving, fixed)
    points = voxels_mm([5, 5, 5], np.diag([20.0, 25, 15, 1])) + torch.tensor([-40.0, -50, 0])
    points = np.concatenate([points.numpy(), np.ones((len(points), 1))], 1)
    assert np.linalg.norm(points @ (found - MOTIONS[motion]).T, axis=1).max() < 1.0  # mm; voxels are 4 mm
    np.testing.assert_array_equal(align(moving, fixed), found)


def test_a_rigid_stage_neither_stretches_nor_shears(fixed):
    moving = moved(fixed, MOTIONS["stretched"], grid(AXES["RAS"]), (60, 64, 60))
    linear = align(moving, fixed, affine=False)[:3, :3]
    size = np.cbrt(np.linalg.det(linear))
    np.testing.assert_allclose(linear.T @ linear, size**2 * np.eye(3), atol=1e-4)


def test_contrast_does_not_matter(fixed):
    moving = moved(fixed, MOTIONS["turned"], grid(AXES["RAS"]), (60, 64, 60))
    brighter = MetaTensor(moving.as_tensor() * 700, affine=moving.affine)
    assert np.abs(align(brighter, fixed) - align(moving, fixed)).max() < 0.1


def test_without_a_head_or_overlap_it_is_an_error(fixed):
    with pytest.raises(AlignmentError, match="no head found"):
        align(MetaTensor(torch.zeros(1, 20, 20, 20), affine=fixed.affine), fixed)
    with pytest.raises(AlignmentError, match="only 0% of the fixed image lies in"):
        check_overlap(known((0, 0, 0), (900, 0, 0)), fixed, fixed)
    assert check_overlap(np.eye(4), fixed, fixed) == 1


def test_averaging_blocks_keeps_positions():
    affine = grid(AXES["PSR"], (12, 10, 8), (1, 1.5, 3))
    ramp = voxels_mm((12, 10, 8), affine)[:, 0].reshape(1, 12, 10, 8)
    pooled, pooled_affine = coarse(MetaTensor(ramp, affine=torch.from_numpy(affine)), 6.0)
    assert pooled.shape == (1, 1, 2, 2, 4)
    np.testing.assert_allclose(voxels_mm(pooled.shape[2:], pooled_affine)[:, 0], pooled.flatten(), rtol=1e-5, atol=1e-4)


def test_the_average_takes_the_mean_position_of_the_heads(fixed):
    """Two heads turned by plus and minus six degrees: the average stands straight, between them."""
    heads = [moved(fixed, known((a, 0, 0), (0, b, 0)), grid(AXES["RAS"]), (60, 64, 60)) for a, b in ((6, 8), (-6, -8))]
    average = average_head(heads, (32, 40, 32), spacing=5.0, rounds=2)
    assert average.shape == (1, 32, 40, 32)
    first, second = (align(image, average)[:3, :3] for image in heads)
    np.testing.assert_allclose((first + second) / 2, np.eye(3), atol=0.03)
