import nibabel as nib
import numpy as np
import pytest

from shared.errors import InputError
from tools.phantom import phantom
from tools.phantoms.brats import brats


def read(folder, name="seg", case=1):
    path = folder / "MICCAI_BraTS2020_TrainingData" / f"BraTS20_Training_{case:03d}"
    return nib.load(path / f"BraTS20_Training_{case:03d}_{name}.nii.gz")


def test_the_seed_and_number_make_the_case(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        brats(str(tmp_path / name), cases=2, seed=seed, spacing=6.0)
    brats(str(tmp_path / "d"), cases=1, seed=1, spacing=6.0, first=2)
    a, b, c = (np.asarray(read(tmp_path / n, "t1").dataobj) for n in "abc")
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    np.testing.assert_array_equal(read(tmp_path / "a", "t2", 2).dataobj, read(tmp_path / "d", "t2", 2).dataobj)


def test_contrasts_are_those_of_mr(tmp_path):
    """Over 8 cases: rim bright on T1ce only, oedema bright on FLAIR and T2, ventricles bright on T2 and dark on FLAIR."""
    brats(str(tmp_path), cases=8, seed=0, spacing=3.0)
    ratios = {}
    for case in range(1, 9):
        labels = np.asarray(read(tmp_path, "seg", case).dataobj)
        for name in ("t1", "t1ce", "t2", "flair"):
            image = np.asarray(read(tmp_path, name, case).dataobj).astype(float)
            assert (image == 0).any() and image.min() == 0
            brain = np.median(image[(image > 0) & (labels == 0)])
            for value, region in ((2, "oedema"), (4, "rim")):
                if (labels == value).sum() > 50:
                    ratios.setdefault((name, region), []).append(np.median(image[labels == value]) / brain)
    mean = {key: np.mean(values) for key, values in ratios.items()}
    assert mean["t1ce", "rim"] > 1.25 > 0.9 > mean["t1", "rim"]
    assert mean["flair", "oedema"] > 1.4 and mean["t2", "oedema"] > 1.2 and mean["t1", "oedema"] < 0.95


def test_layout_type_and_grid_are_those_of_the_release(tmp_path):
    brats(str(tmp_path), cases=1, spacing=5.0)
    image = read(tmp_path, "flair")
    assert image.shape == (48, 48, 31) and image.get_data_dtype() == np.int16
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S") and image.header.get_zooms() == (5, 5, 5)
    root = tmp_path / "MICCAI_BraTS2020_TrainingData"
    assert (root / "name_mapping.csv").read_text().splitlines()[1] == "HGG,BraTS20_Training_001"
    assert set(np.unique(read(tmp_path).dataobj)) <= {0, 1, 2, 4}


def test_existing_cases_are_not_overwritten(tmp_path):
    brats(str(tmp_path), cases=1, spacing=8.0)
    with pytest.raises(FileExistsError, match="001_flair.nii.gz exists already"):
        brats(str(tmp_path), cases=1, spacing=8.0)


def test_tumours_in_given_anatomy_have_the_releases_layout(heads_dir, tmp_path):
    settings = {"cases": 2, "spacing": 4.0, "anatomy": str(heads_dir), "section": "training", "seed": 2}
    for name in "ab":
        brats(str(tmp_path / name), picture=str(tmp_path / f"{name}.png"), **settings)
    brats(str(tmp_path / "none"), **settings, tumour=0.0)
    for case in (1, 2):
        image, label = read(tmp_path / "a", "flair", case), np.asarray(read(tmp_path / "a", "seg", case).dataobj)
        assert image.shape == label.shape == (60, 60, 39) and nib.aff2axcodes(image.affine) == ("L", "P", "S")
        np.testing.assert_array_equal(image.dataobj, read(tmp_path / "b", "flair", case).dataobj)
        assert label.any() and set(np.unique(label)) <= {0, 1, 2, 4}
        assert (np.asarray(image.dataobj)[label > 0] > 0).all()
        assert not np.asarray(read(tmp_path / "none", "seg", case).dataobj).any()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    brain = np.asarray(read(tmp_path / "none", "t1").dataobj) > 0
    assert np.abs(np.argwhere(brain).mean(0) - [29.5, 29.5, 19]).max() < 4  # it lies in the middle


def test_heads_without_a_datalist_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no datalist .*datalist.json"):
        brats(str(tmp_path / "out"), anatomy=str(tmp_path))


def test_an_unknown_release_is_refused(tmp_path):
    with pytest.raises(ValueError, match="release is '2019', expected one of 2020, 2021, 2023, msd"):
        phantom["brats"](str(tmp_path), release=2019)
