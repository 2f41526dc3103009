"""The bundle's inference, as its command runs it: fields that other programs can use, any grid, damaged input."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, run
from scipy.spatial.transform import Rotation

from shared.errors import InputError
from shared.handlers.case_table import read_rows
from shared.registration import fields, itk

from ..conftest import config
from .conftest import BUNDLE, NETWORK, files, infer, last_weight, write_pairs

GRIDS = {
    "as it is": lambda image: image,
    "flipped and permuted": lambda image: image.as_reoriented(nib.orientations.axcodes2ornt("LAS")),
    "oblique": lambda image: nib.Nifti1Image(
        np.asarray(image.dataobj),
        nib.affines.from_matvec(Rotation.from_euler("xyz", [9, -6, 12], True).as_matrix(), [30, -40, 25]) @ image.affine,
    ),
    "anisotropic": lambda image: nib.Nifti1Image(np.asarray(image.dataobj)[:, ::2], image.affine @ np.diag([1, 2, 1, 1])),
}


@pytest.fixture(scope="module", params=GRIDS)
def registered(heads, small, tmp_path_factory, request) -> dict:
    """A head on some grid, registered to another one, and what was found."""
    folder = tmp_path_factory.mktemp("registered")
    moving, fixed = folder / "in" / "a_T1.nii.gz", files(heads, 1)[0]
    moving.parent.mkdir()
    nib.save(GRIDS[request.param](nib.load(files(heads, 0)[0])), moving)
    row = infer(small, moving.parent, folder / "out", fixed=str(fixed), pictures=False)["a"]
    return {"moving": moving, "fixed": fixed, "row": row, "out": folder / "out"}


def by_simpleitk(moving: Path, fixed: Path, field: Path) -> np.ndarray:
    """As the card tells SimpleITK's users."""
    sitk = pytest.importorskip("SimpleITK", reason="needs SimpleITK (pip install -e .[n4])")
    displacement = sitk.DisplacementFieldTransform(sitk.ReadImage(str(field), sitk.sitkVectorFloat64))
    image, grid = (sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (moving, fixed))
    return sitk.GetArrayFromImage(sitk.Resample(image, grid, displacement, sitk.sitkLinear, 0.0)).transpose(2, 1, 0)


def by_ants(moving: Path, fixed: Path, field: Path) -> np.ndarray:
    """As the card tells ANTs' users; antspyx runs antsApplyTransforms."""
    ants = pytest.importorskip("ants", reason="needs antspyx (see tools/baselines/registration.py)")
    image, grid = (ants.image_read(str(path)) for path in (moving, fixed))
    return ants.apply_transforms(grid, image, [str(field)], interpolator="linear").numpy()


@pytest.mark.parametrize("program", [by_simpleitk, by_ants])
def test_the_saved_field_moves_the_head_in_other_programs_too(registered, program):
    moving, fixed, out = nib.load(registered["moving"]), nib.load(registered["fixed"]), registered["out"]
    theirs = program(registered["moving"], registered["fixed"], out / "a_field.nii.gz")
    moved, row = nib.load(out / "a_moved.nii.gz"), registered["row"]
    assert moved.shape == fixed.shape
    np.testing.assert_allclose(moved.affine, fixed.affine, atol=1e-4)
    assert float(row["correlation_affine"]) > 0.8 and float(row["inverse_mean_mm"]) < 0.2
    ours = moved.get_fdata()
    field, affine = itk.load_field(out / "a_field.nii.gz")
    whole = fields.warp(torch.ones(1, *moving.shape), moving.affine, torch.from_numpy(field.copy()), affine)[0].numpy() > 0.999
    assert whole.mean() > 0.3  # at the rim of the moving image ITK stops half a voxel later
    np.testing.assert_allclose(ours[whole], theirs[whole], atol=1e-3 * ours.max())
    assert np.linalg.norm(field, axis=0).max() > 3 and np.allclose(affine, fixed.affine, atol=1e-4)


@pytest.mark.parametrize("program", [by_simpleitk, by_ants])
def test_the_saved_inverse_brings_the_fixed_head_onto_the_moving_one(registered, program):
    theirs = program(registered["fixed"], registered["moving"], registered["out"] / "a_inverse.nii.gz")
    moving, fixed = nib.load(registered["moving"]), nib.load(registered["fixed"])
    field, affine = itk.load_field(registered["out"] / "a_inverse.nii.gz")
    values = torch.from_numpy(fixed.get_fdata(dtype=np.float32))[None]
    ours, whole = (
        fields.warp(image, fixed.affine, torch.from_numpy(field.copy()), affine)[0].numpy()
        for image in (values, torch.ones_like(values))
    )
    assert theirs.shape == moving.shape and (whole > 0.999).mean() > 0.3
    np.testing.assert_allclose(ours[whole > 0.999], theirs[whole > 0.999], atol=1e-3 * ours.max())
    assert np.corrcoef(theirs[whole > 0.999], moving.get_fdata()[whole > 0.999])[0, 1] > 0.8


def test_a_head_with_itself_stays_where_it_is(heads, tmp_path):
    """The shipped weights, identical images: about no field."""
    image, label = files(heads, 0)
    pairs = write_pairs(
        tmp_path / "p.csv", {"moving": image, "fixed": image, "label": label, "fixed_label": label, "case": "same"}
    )
    run(
        config_file=config("inference", BUNDLE),
        dataset_dir=str(heads),
        output_dir=str(tmp_path / "o"),
        pairs=pairs,
        pictures=False,
    )
    row = read_rows(tmp_path / "o" / "registrations.csv")["same"]
    field, _ = itk.load_field(tmp_path / "o" / "same_field.nii.gz")
    assert np.linalg.norm(field, axis=0).mean() < 1.0 and float(row["correlation"]) > 0.97
    assert float(row["dice_identity"]) == 1 and float(row["dice_affine"]) == 1


def test_points_and_labels_follow_a_given_affine(heads, small, tmp_path):
    """A head shifted by a known transform: the network gives nothing, the given affine all."""
    image, label = (nib.load(path) for path in files(heads, 2))
    shift = nib.affines.from_matvec(np.eye(3), [12.0, -7.0, 9.0])  # fixed to moving
    data = tmp_path / "in"
    data.mkdir()
    for name, source in {"b_T1": image, "b_seg": label}.items():
        nib.save(nib.Nifti1Image(np.asarray(source.dataobj), shift @ source.affine), data / f"{name}.nii.gz")
    place = (shift @ image.affine @ [20, 24, 18, 1])[:3]
    (data / "b_points.csv").write_text("name,x,y,z\nput," + ",".join(f"{v:.3f}" for v in place) + "\n")
    itk.save_affine(tmp_path / "given.txt", shift)
    state = torch.load(small["checkpoint"], weights_only=True)
    parser = ConfigParser(ConfigParser.load_config_file(config("inference", BUNDLE)))
    parser.update(NETWORK)
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(state)
    torch.nn.init.zeros_(last_weight(network))
    torch.save(network.state_dict(), tmp_path / "still.pt")
    options = {
        "fixed": str(files(heads, 2)[0]),
        "fixed_label": str(files(heads, 2)[1]),
        "affine_file": str(tmp_path / "given.txt"),
    }
    row = infer(small, data, tmp_path / "out", **options, checkpoint=str(tmp_path / "still.pt"), pictures=False)["b"]
    assert float(row["dice"]) == 1 and float(row["dice_identity"]) < 0.6
    np.testing.assert_array_equal(
        np.asarray(nib.load(tmp_path / "out" / "b_moved_label.nii.gz").dataobj), np.asarray(label.dataobj)
    )
    with (tmp_path / "out" / "b_points.csv").open() as file:
        (point,) = csv.DictReader(file)
    assert point["name"] == "put"
    np.testing.assert_allclose([float(point[a]) for a in "xyz"], (image.affine @ [20, 24, 18, 1])[:3], atol=0.01)
    np.testing.assert_allclose(itk.load_affine(tmp_path / "out" / "b_affine.txt"), shift, atol=1e-5)


def test_damaged_cases_are_listed_and_the_others_finish(heads, small, tmp_path):
    data = tmp_path / "in"
    data.mkdir()
    image, label = (nib.load(path) for path in files(heads, 0))
    values = np.asarray(image.dataobj)
    for name in ("good", "far", "outside", "zero", "noise"):
        nib.save(image, data / f"{name}_T1.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros_like(values), image.affine), data / "zero_T1.nii.gz")
    (data / "noise_T1.nii.gz").write_text("no image")
    nib.save(nib.Nifti1Image(np.asarray(label.dataobj)[:-1], label.affine), data / "far_seg.nii.gz")
    (data / "outside_points.csv").write_text("x,y,z\n0,0,0\n900,0,0\n")
    with pytest.raises(InputError) as end:
        infer(small, data, tmp_path / "out", fixed=str(files(heads, 1)[0]), pictures=False)
    message = str(end.value)
    assert message.startswith("4 of 5 cases failed:")
    assert f"far: {data / 'far_seg.nii.gz'}: shape" in message
    assert f"zero: {data / 'zero_T1.nii.gz'}: all voxels are zero" in message
    assert f"noise: {data / 'noise_T1.nii.gz'}: not a readable NIfTI image" in message
    assert "outside_points.csv: the points in rows [3] lie outside" in message
    assert list(read_rows(tmp_path / "out" / "registrations.csv")) == ["good"]
    assert not (tmp_path / "out" / "outside_moved.nii.gz").exists()


def test_no_overlap_is_an_error(heads, small, tmp_path):
    np.savetxt(tmp_path / "away.txt", nib.affines.from_matvec(np.eye(3), [500.0, 0, 0]))
    pairs = write_pairs(tmp_path / "p.csv", {"moving": files(heads, 0)[0], "affine": tmp_path / "away.txt", "case": "a"})
    with pytest.raises(InputError, match="a: .*T1.nii.gz: only 0% of the fixed image lies in the moving one's field of view"):
        infer(small, heads, tmp_path / "out", pairs=pairs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fixed": "nowhere.nii.gz"}, "no such file nowhere.nii.gz"),
        ({"atlas": "nowhere.nii.gz", "fixed": "{head}"}, "nowhere.nii.gz: no such file"),
        ({"pairs": "{table}"}, "expected rows with the column moving"),
    ],
)
def test_what_makes_the_run_impossible_is_said(heads, small, tmp_path, options, message):
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    names = {"head": files(heads, 0)[0], "table": tmp_path / "table.csv"}
    options = {key: value.format(**names) for key, value in options.items()}
    with pytest.raises(InputError, match=message):
        infer(small, heads, tmp_path / "out", **options)
