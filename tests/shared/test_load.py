"""Loading: geometry, channel order, and every kind of damage with its message."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from shared.transforms import LoadCased

SEQUENCES = ["t1ce", "t1", "t2", "flair"]
OBLIQUE = nib.affines.from_matvec(np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ np.diag([-1.2, 0.9, 3]), [10, -20, 5])


def save(path, data, affine=OBLIQUE):
    nib.save(nib.Nifti1Image(np.asarray(data), affine), path)
    return str(path)


@pytest.fixture
def case(tmp_path):
    """Four files of one oblique, flipped, anisotropic grid with values 1, 2, 3, 4, and a label."""
    files = [save(tmp_path / f"p_{name}.nii.gz", np.full((5, 6, 7), i + 1, np.int16)) for i, name in enumerate(SEQUENCES)]
    return {"case": "p", "image": files, "label": save(tmp_path / "p_seg.nii.gz", np.ones((5, 6, 7), np.uint8))}


def test_channels_and_affine(case):
    item = LoadCased(SEQUENCES, label_key="label")(case)
    assert item["image"].shape == (4, 5, 6, 7) and item["label"].shape == (1, 5, 6, 7)
    assert item["image"][:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(item["image"].affine, OBLIQUE, atol=1e-5)
    assert item["image"].meta["case"] == "p"


def test_4d_file_is_put_into_the_networks_order(tmp_path):
    order = ["flair", "t1", "t1ce", "t2"]
    path = save(tmp_path / "x.nii.gz", np.broadcast_to(np.arange(1, 5, dtype=np.float32), (5, 6, 7, 4)))
    image = LoadCased(SEQUENCES)({"image": path, "channels": order})["image"]
    assert image[:, 0, 0, 0].tolist() == [3, 2, 4, 1]
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-5)


def break_nan(path):
    data = np.ones((5, 6, 7), np.float32)
    data[0, 0, :2] = np.nan
    save(path, data)


def break_truncated(path):
    noise = np.random.default_rng(0).integers(0, 999, (5, 6, 7)).astype(np.int16)
    save(path, noise)
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) * 2 // 3])


BREAKS = {
    "NaN": (break_nan, "2 of 210 voxels are NaN"),
    "zero": (lambda p: save(p, np.zeros((5, 6, 7), np.int16)), "all voxels are zero"),
    "shape": (lambda p: save(p, np.ones((5, 6, 8), np.int16)), r"shape \(5, 6, 8\) differs from \(5, 6, 7\)"),
    "affine": (lambda p: save(p, np.ones((5, 6, 7), np.int16), np.eye(4)), "affine differs by up to .* from that of"),
    "4D": (lambda p: save(p, np.ones((5, 6, 7, 2), np.int16)), "expected a 3D image"),
    "truncated": (break_truncated, "not a readable NIfTI image"),
    "text": (lambda p: Path(p).write_text("hello"), "not a readable NIfTI image"),
    "gzipped text": (lambda p: Path(p).write_bytes(gzip.compress(b"hello")), "not a readable NIfTI image"),
    "gone": (lambda p: Path(p).unlink(), "no such file"),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_damage_is_refused_and_the_file_named(case, kind):
    breaker, message = BREAKS[kind]
    breaker(case["image"][2])
    with pytest.raises(ValueError, match=f"p_t2.nii.gz: .*{message}"):
        LoadCased(SEQUENCES)(case)


def test_label_of_another_grid_is_refused(case):
    save(case["label"], np.ones((5, 6, 6), np.uint8))
    with pytest.raises(ValueError, match=r"p_seg.nii.gz: shape \(5, 6, 6\) differs"):
        LoadCased(SEQUENCES, label_key="label")(case)


def test_three_files_where_four_are_expected(case):
    case["image"].pop()
    with pytest.raises(ValueError, match="expected 4 files .t1ce, t1, t2, flair., found 3"):
        LoadCased(SEQUENCES)(case)


def test_4d_file_with_too_few_channels(tmp_path):
    path = save(tmp_path / "x.nii.gz", np.ones((5, 6, 7, 3), np.float32))
    with pytest.raises(ValueError, match="x.nii.gz: expected a 4D image with the 4 channels .* found 3"):
        LoadCased(SEQUENCES)({"image": path, "channels": ["flair", "t1", "t1ce", "t2"]})


def test_a_problem_found_while_listing_is_raised_on_loading():
    with pytest.raises(ValueError, match="missing sequence"):
        LoadCased(SEQUENCES)({"case": "p", "image": [], "problem": "p: missing sequence t2"})


def test_files_by_sequence_are_taken_in_the_order_that_is_asked_for(case):
    item = {**case, "files": dict(zip(SEQUENCES, case["image"], strict=True)), "image": case["image"][1]}
    loaded = LoadCased(["flair", "t1"])(item)
    assert loaded["image"][:, 0, 0, 0].tolist() == [4, 2] and "files" not in loaded
    with pytest.raises(ValueError, match="p: expected the sequences t1, pd, found t1ce, t1, t2, flair"):
        LoadCased(["t1", "pd"])(item)


def test_other_grids_are_an_error_or_resampled(tmp_path):
    """A slope along x in mm is the same slope on the other, oblique grid."""
    grids = {"t1": (np.diag([2.0, 2, 2, 1]), (12, 12, 12)), "t2": (OBLIQUE, (40, 60, 20))}
    files = {}
    for name, (affine, shape) in grids.items():
        affine = affine.copy()
        affine[:3, 3] += 11 - nib.affines.apply_affine(affine, (np.array(shape) - 1) / 2)  # the same middle
        x = nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))[..., 0]
        files[name] = save(tmp_path / f"p_{name}.nii.gz", (x + 50).astype(np.float32), affine)
    item = {"case": "p", "image": list(files.values())}
    with pytest.raises(ValueError, match="p_t2.nii.gz: shape .* differs"):
        LoadCased(["t1", "t2"])(item)
    image = LoadCased(["t1", "t2"], resample=True)(item)["image"]
    np.testing.assert_allclose(image[0, 4:8, 4:8, 4:8], image[1, 4:8, 4:8, 4:8], atol=1e-3)
    np.testing.assert_allclose(image.affine, nib.load(files["t1"]).affine)
    far = nib.load(files["t2"])
    moved = nib.affines.from_matvec(far.affine[:3, :3], [900, 0, 0])
    save(tmp_path / "p_t2.nii.gz", far.get_fdata(dtype=np.float32), moved)
    with pytest.raises(ValueError, match="p_t2.nii.gz on the grid of .*p_t1.nii.gz: all voxels are zero"):
        LoadCased(["t1", "t2"], resample=True)(item)
