"""Displacement fields: composed, inverted, measured, saved and applied, against SciPy, nibabel and SimpleITK."""

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from shared.registration import fields, itk

RNG = np.random.default_rng(3)


def motion(scale=(1, 1, 1), angles=(0, 0, 0), shift=(0, 0, 0)) -> np.ndarray:
    """A transform (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(scale)
    matrix[:3, 3] = shift
    return matrix


def oblique(spacing=(2.0, 1.5, 3.0), angles=(12, -8, 20), middle=(-20, 13, 5)) -> np.ndarray:
    """Voxels to mm of a turned, anisotropic, perhaps flipped grid whose voxel (8, 8, 8) lies at `middle`."""
    affine = motion(spacing, angles)
    affine[:3, 3] = middle - affine[:3, :3] @ [8, 8, 8]
    return affine


GRIDS = {
    "straight": (oblique((2, 2, 2), (0, 0, 0)), oblique((2, 2, 2), (0, 0, 0))),
    "oblique": (oblique(), oblique(angles=(-5, 10, 4))),
    "flipped": (oblique((-2, 1.5, 3)), oblique((2, -1.5, -2.5))),
    "anisotropic": (oblique((1, 1, 4), (0, 0, 0)), oblique((3, 1, 1.5), (0, 0, 90))),
}


def smooth_ddf(shape=(20, 24, 16), size=1.5) -> torch.Tensor:
    ddf = np.stack([gaussian_filter(RNG.standard_normal(shape), 4) for _ in range(3)])
    return torch.from_numpy((ddf / np.abs(ddf).max() * size).astype(np.float32))


@pytest.mark.parametrize("name", GRIDS)
def test_the_total_field_is_the_composition_of_its_parts(name):
    """Voxel by voxel in double precision, with SciPy's interpolation."""
    fixed_affine, moving_grid = GRIDS[name]
    fixed_grid = oblique((2, 2, 2), (3, 4, 5))
    ddf, shape = smooth_ddf(), (9, 10, 11)
    found = fields.total_field(ddf, fixed_grid, moving_grid, fixed_affine, shape)
    for index in [(0, 0, 0), (4, 5, 6), (8, 3, 10), (2, 9, 1)]:
        start = fixed_affine @ [*index, 1]
        x = np.linalg.inv(fixed_grid) @ start
        u = [map_coordinates(part, x[:3, None], order=1, mode="nearest")[0] for part in ddf.double().numpy()]
        end = moving_grid @ (x + [*u, 0])
        np.testing.assert_allclose(found[(slice(None), *index)], (end - start)[:3], atol=2e-3)


@pytest.mark.parametrize("name", GRIDS)
def test_warping_by_an_affine_is_that_of_scipy(name):
    affine, moving_affine = GRIDS[name]
    moving = gaussian_filter(RNG.standard_normal((18, 20, 22)), 1).astype(np.float32)
    shape, moved = (12, 13, 14), motion((1, 1, 1), (5, 3, -4), (4, -3, 2))
    field = fields.total_field(torch.zeros(3, 4, 4, 4), np.eye(4), moved, affine, shape)
    found = fields.warp(torch.from_numpy(moving)[None], moving_affine, field, affine)[0].numpy()
    matrix = np.linalg.inv(moving_affine) @ moved @ affine
    wanted = affine_transform(moving.astype(float), matrix[:3, :3], matrix[:3, 3], shape, order=1, mode="constant")
    inside = affine_transform(np.ones_like(moving), matrix[:3, :3], matrix[:3, 3], shape, order=1) > 0.999
    assert inside.any()
    np.testing.assert_allclose(found[inside], wanted[inside], atol=1e-4)


@pytest.mark.parametrize("name", GRIDS)
def test_simpleitk_applies_the_saved_field_as_we_do(name, tmp_path):
    sitk = pytest.importorskip("SimpleITK", reason="needs SimpleITK (pip install -e .[n4])")
    affine, moving_affine = GRIDS[name]
    moving = gaussian_filter(RNG.standard_normal((20, 22, 24)), 1).astype(np.float32)
    fixed_grid = affine @ np.diag([0.6, 0.6, 0.6, 1])
    moving_grid = moving_affine @ np.diag([0.9, 0.8, 0.9, 1])
    moving_grid[:3, 3] += 3
    field = fields.total_field(smooth_ddf(), fixed_grid, moving_grid, affine, (14, 15, 12))
    ours = fields.warp(torch.from_numpy(moving)[None], moving_affine, field, affine)[0].numpy()

    nib.save(nib.Nifti1Image(moving, moving_affine), tmp_path / "moving.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((14, 15, 12), np.float32), affine), tmp_path / "fixed.nii.gz")
    itk.save_field(tmp_path / "field.nii.gz", field.numpy(), affine)
    displacement = sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64)
    assert displacement.GetDimension() == 3 and displacement.GetNumberOfComponentsPerPixel() == 3
    fixed, image = (sitk.ReadImage(str(tmp_path / f"{n}.nii.gz"), sitk.sitkFloat32) for n in ("fixed", "moving"))
    theirs = sitk.Resample(image, fixed, sitk.DisplacementFieldTransform(displacement), sitk.sitkLinear, 0.0)
    theirs = sitk.GetArrayFromImage(theirs).transpose(2, 1, 0)
    ones = torch.ones(1, *moving.shape)
    inside = fields.warp(ones, moving_affine, field, affine)[0].numpy() > 0.999  # at the rim ITK stops half a voxel later
    assert inside.mean() > 0.05
    np.testing.assert_allclose(ours[inside], theirs[inside], atol=2e-3)

    back, loaded_affine = itk.load_field(tmp_path / "field.nii.gz")
    np.testing.assert_allclose(back, field.numpy(), atol=1e-6)
    np.testing.assert_allclose(loaded_affine, affine, atol=1e-4)


def test_affine_files_are_read_and_written_as_itk_does(tmp_path):
    matrix = motion((1.1, 0.9, 1.2), (12, -8, 20), (3, 4, 5))
    itk.save_affine(tmp_path / "a.txt", matrix)
    np.testing.assert_allclose(itk.load_affine(tmp_path / "a.txt"), matrix, atol=1e-12)
    np.savetxt(tmp_path / "plain.txt", matrix)
    np.testing.assert_allclose(itk.load_affine(tmp_path / "plain.txt"), matrix)
    sitk = pytest.importorskip("SimpleITK", reason="needs SimpleITK (pip install -e .[n4])")
    theirs = sitk.AffineTransform(sitk.ReadTransform(str(tmp_path / "a.txt")))
    point = np.array([10.0, -20, 30])
    lps = np.array(theirs.TransformPoint((point * [-1, -1, 1]).tolist())) * [-1, -1, 1]
    np.testing.assert_allclose(lps, (matrix @ [*point, 1])[:3])
    around = sitk.AffineTransform(3)
    around.SetCenter((5.0, 6, 7))
    around.Rotate(0, 1, 0.3)
    around.Translate((1.0, 2, 3))
    for name in ("b.tfm", "c.mat"):
        sitk.WriteTransform(around, str(tmp_path / name))
        ours = itk.load_affine(tmp_path / name)
        wanted = np.array(around.TransformPoint((point * [-1, -1, 1]).tolist())) * [-1, -1, 1]
        np.testing.assert_allclose((ours @ [*point, 1])[:3], wanted, atol=1e-6)


@pytest.mark.parametrize("text", ["", "1 2 3", "#Insight Transform File V1.0\nTransform: Euler\nParameters: 1 2\n", "0 " * 16])
def test_a_bad_affine_file_is_named(tmp_path, text):
    (tmp_path / "bad.txt").write_text(text)
    with pytest.raises(ValueError, match="bad.txt: "):
        itk.load_affine(tmp_path / "bad.txt")
    with pytest.raises(ValueError, match="none.txt: no such file"):
        itk.load_affine(tmp_path / "none.txt")


def test_a_field_of_another_shape_is_named(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.float32), np.eye(4)), tmp_path / "scalar.nii.gz")
    with pytest.raises(ValueError, match=r"scalar.nii.gz: shape \(3, 3, 3\), expected a displacement field"):
        itk.load_field(tmp_path / "scalar.nii.gz")


def test_the_inverse_undoes_a_field():
    ddf = smooth_ddf((24, 24, 24), 3.0)
    inverse = fields.invert(ddf)
    gap = fields.round_trip(ddf, np.eye(4), inverse, np.eye(4))
    assert float(gap[4:-4, 4:-4, 4:-4].nanquantile(0.99)) < 0.05
    apart = fields.round_trip(ddf, np.eye(4), torch.zeros_like(ddf), np.eye(4))
    assert torch.allclose(apart[~apart.isnan()], ddf.norm(dim=0)[~apart.isnan()], atol=1e-5)


@pytest.mark.parametrize("name", GRIDS)
def test_points_go_with_the_tissue(name):
    """A landmark moved by a known transform lands where it should, and against the field's direction."""
    fixed_affine, moving_affine = GRIDS[name]
    known = motion((1.05, 1, 0.95), (4, 0, -3), (5, -6, 7))  # fixed to moving
    shape = (30, 30, 30)
    back = fields.total_field(torch.zeros(3, 4, 4, 4), known, np.eye(4), moving_affine, shape)
    point = (moving_affine @ [11.3, 14.2, 9.8, 1])[:3]
    moved = fields.move_points(torch.from_numpy(point)[None], back, moving_affine)[0].numpy()
    np.testing.assert_allclose(moved, (np.linalg.inv(known) @ [*point, 1])[:3], atol=1e-3)
    far = torch.from_numpy((moving_affine @ [40.0, 0, 0, 1])[:3])[None]
    assert fields.move_points(far, back, moving_affine).isnan().all()


def test_jacobian_of_known_maps():
    affine = oblique()
    field = fields.total_field(torch.zeros(3, 4, 4, 4), np.eye(4), motion((1.2, 0.9, 1.1)), affine, (6, 7, 8))
    np.testing.assert_allclose(fields.jacobian(field, affine), 1.2 * 0.9 * 1.1, rtol=1e-3)
    folded = torch.zeros(3, 6, 6, 6)
    folded[0] = -2.0 * torch.arange(6.0).view(6, 1, 1)  # x becomes -x
    assert (fields.jacobian(folded, np.eye(4)) == -1).all()
    flat = torch.zeros(2, 5, 6)
    flat[1] = 0.5 * torch.arange(6.0)
    np.testing.assert_allclose(fields.jacobian(flat, np.eye(4)), 1.5)


def test_nearest_neighbours_keep_large_label_values():
    labels = torch.full((1, 4, 4, 4), 2**25 + 1, dtype=torch.int64)
    places = fields.identity((4, 4, 4)) + 0.4
    assert (fields.sample(labels, places, "nearest") == 2**25 + 1).all()
    assert (fields.sample(labels, places + 1.2, "nearest")[0, 3] == 0).all()
