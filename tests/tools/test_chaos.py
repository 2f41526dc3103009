"""The CHAOS release: synthetic patients as it has them, pairing of masks, what prepare says, anatomies."""

import json

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from shared import abdomen as t
from shared.transforms import LoadSeriesd
from tools.datasets import chaos
from tools.phantoms.abdomen import abdomen
from tools.phantoms.chaos import chaos as phantom
from tools.prepare import prepare
from tools.report import report
from tools.reports.abdomen import training_slices
from tools.scan_anatomy import read_scan


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chaos")
    phantom(str(folder), cases=3, seed=5, size=48, slices=10, ct=1, test=1)
    return folder


def series(release, case):
    return next(item for item in chaos.read(str(release)) if item["case"] == case)


def test_every_series_of_the_release_is_found_with_its_masks(release):
    items = {item["case"]: item for item in chaos.read(str(release))}
    kinds = ("in_phase", "out_phase", "t2_spir")
    assert set(items) == {
        *(f"MR_{n}_{kind}" for n in (1, 2, 3) for kind in kinds), "CT_1_ct", *(f"test_MR_5_{kind}" for kind in kinds)
    }  # fmt: skip
    assert all("problem" not in item for item in items.values())
    assert all(("label" in item) == (not item["case"].startswith("test_")) for item in items.values())
    assert {item["subject"] for item in items.values()} == {"MR_1", "MR_2", "MR_3", "CT_1", "test_MR_5"}


def test_masks_of_both_phases_are_the_same_and_lie_over_their_organs(release):
    volumes = {}
    for kind in ("in_phase", "out_phase"):
        data = LoadSeriesd("label")(series(release, f"MR_2_{kind}"))
        volumes[kind] = data["label"].as_tensor()
        assert set(data["label"].unique().tolist()) == {0, 1, 2, 3, 4}
        liver, air = data["image"][data["label"] == 1], data["image"][data["image"] < data["image"].median()]
        assert float(liver.mean()) > 2 * float(air.mean()) and float(liver.std() / liver.mean()) < 0.5
    assert volumes["in_phase"].equal(volumes["out_phase"])


def test_pairing_follows_names_and_positions_not_the_order_of_files(release, tmp_path):
    """Masks renamed against the order of slices, together with their slices, must still lie on them."""
    import shutil

    root = tmp_path / "r"
    shutil.copytree(release / "Train_Sets" / "MR" / "1", root / "Train_Sets" / "MR" / "1")
    before = {k: LoadSeriesd("label")(series(release, f"MR_1_{k}"))["label"].as_tensor() for k in ("in_phase", "out_phase")}
    dicom, ground = (root / "Train_Sets" / "MR" / "1" / "T1DUAL" / p for p in ("DICOM_anon/InPhase", "Ground"))
    for index, path in enumerate(sorted(dicom.glob("*.dcm"))):
        path.rename(dicom / f"new{50 - index}.dcm")
        (ground / f"{path.stem}.png").rename(ground / f"new{50 - index}.png")
    for kind, masks in before.items():
        assert LoadSeriesd("label")(series(root, f"MR_1_{kind}"))["label"].as_tensor().equal(masks)
    (ground / "new50.png").rename(ground / "other.png")
    assert "no new50.png, though the other masks are named" in series(root, "MR_1_in_phase")["problem"]
    (ground / "other.png").unlink()
    assert "9 masks, expected 10, one for each slice" in series(root, "MR_1_out_phase")["problem"]


def test_ct_masks_without_matching_names_go_by_instance_numbers(release):
    data = LoadSeriesd("label")(series(release, "CT_1_ct"))
    liver = data["image"][data["label"] == 1]
    assert 60 < float(liver.median()) < 160  # HU
    assert set(data["label"].unique().tolist()) == {0, 1}


def test_prepare_splits_by_patient_and_reports_slices_spacing_liver_and_problems(release, tmp_path, capsys):
    import shutil

    root = tmp_path / "r"
    shutil.copytree(release, root)
    broken = root / "Train_Sets" / "MR" / "3" / "T2SPIR"
    sorted((broken / "DICOM_anon").glob("*.dcm"))[4].unlink()
    png = next((root / "Train_Sets" / "MR" / "3" / "T1DUAL" / "Ground").glob("*.png"))
    Image.fromarray(np.full((48, 48), 90, np.uint8)).save(png)
    prepare("chaos", str(root), validation=0.25, testing=0.25)
    printed = capsys.readouterr().out
    data = LoadSeriesd("label")(series(root, "MR_1_in_phase"))
    ml = float((data["label"] == 1).sum()) * float(np.prod([float(s) for s in data["image"].pixdim])) / 1000
    assert f"MR_1_in_phase: 10 slices, {float(data['image'].pixdim[0]):.2f} x" in printed and f"liver {ml:.0f} mL" in printed
    assert "PROBLEM MR_3_t2_spir:" in printed and "1 missing slice" in printed
    assert "PROBLEM MR_3_in_phase:" in printed and "grey values [90]" in printed
    content = json.loads((root / "datalist.json").read_text())
    parts = {name: {item["subject"] for item in content[name]} for name in ("training", "validation", "testing")}
    assert sum(len(part) for part in parts.values()) == len(set.union(*parts.values())) == 3
    assert {item["subject"] for item in content["without_label"]} == {"test_MR_5"}


def test_no_release_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no patient below"):
        chaos.read(str(tmp_path))


def test_the_twin_has_the_releases_tags(release):
    folder = release / "Train_Sets" / "MR" / "1" / "T1DUAL"
    for phase, first, echo in (("InPhase", 2, 4.6), ("OutPhase", 1, 2.3)):
        path = folder / "DICOM_anon" / phase / f"IMG-0001-{first:05d}.dcm"
        header = pydicom.dcmread(path)
        assert (header.Modality, header.BitsStored, float(header.EchoTime)) == ("MR", 12, echo)
        assert header.pixel_array.max() < 4096
    values = np.unique([np.unique(np.asarray(Image.open(p))).tolist() for p in (folder / "Ground").glob("*.png")][5])
    assert set(values) <= {0, 63, 126, 189, 252}
    with pytest.raises(FileExistsError):
        phantom(str(release), cases=1)


def test_anatomies_are_drawn_and_bent_and_a_stopped_run_goes_on(tmp_path, capsys):
    rng = np.random.default_rng(0)
    names = np.zeros((30, 26, 20), np.uint8)
    names[4:14, 6:20, 4:16], names[18:24, 6:12, 4:16] = 5, 1  # liver and spleen of TotalSegmentator
    values = np.where(names > 0, 100, 40) + rng.normal(0, 5, names.shape)
    values[:2], values[-2:] = -1000, -1000
    for name, volume in {"ct": values.astype(np.int16), "seg": names}.items():
        nib.save(nib.Nifti1Image(volume, np.diag([-6, -6, 6, 1])), tmp_path / f"{name}.nii.gz")  # LPS, turned to RAS
    scan = read_scan(tmp_path / "ct.nii.gz", tmp_path / "seg.nii.gz")
    assert np.argwhere(scan.tissue == t.LIVER).mean(0)[0] > np.argwhere(scan.tissue == t.SPLEEN).mean(0)[0]
    assert {t.AIR, t.LIVER, t.SPLEEN, t.MUSCLE} <= set(np.unique(scan.tissue))
    pair = f"{tmp_path / 'ct.nii.gz'}={tmp_path / 'seg.nii.gz'}"
    root = tmp_path / "a"
    abdomen(str(root), cases=1, seed=2, anatomy=pair, bent=2, spacing=8.0)
    items = json.loads((root / "datalist.json").read_text())["training"]
    assert [item["case"] for item in items] == ["drawn000", "bent0_000", "bent0_001"]
    one, other = (np.asarray(nib.load(root / f"bent0_00{i}.nii.gz").dataobj) for i in (0, 1))
    assert one.shape[:2] == (48, 40) and (one == t.LIVER).any() and (one.shape != other.shape or (one != other).any())
    image = np.asarray(nib.load(root / "bent0_000_image.nii.gz").dataobj)
    assert image.shape == one.shape and abs(image[one == t.LIVER].mean() - 255 * (100 + 160) / 400) < 15
    (root / "datalist.json").unlink()
    (root / "bent0_001.nii.gz").unlink()
    kept = (root / "bent0_000.nii.gz").stat().st_mtime_ns
    abdomen(str(root), cases=1, seed=2, anatomy=pair, bent=2, spacing=8.0)
    assert (root / "bent0_000.nii.gz").stat().st_mtime_ns == kept
    assert np.array_equal(np.asarray(nib.load(root / "bent0_001.nii.gz").dataobj), other)
    with pytest.raises(ValueError, match="expected IMAGE=LABELS"):
        abdomen(str(tmp_path / "b"), anatomy="ct.nii.gz")


def test_the_report_shows_training_slices(tmp_path):
    abdomen(str(tmp_path), cases=2, seed=2, spacing=8.0)
    slices = training_slices(tmp_path, 4)
    assert [tuple(item["image"].shape) for item in slices] == [(1, 192, 160)] * 4 and slices[0]["label"].shape[0] == 4
    assert np.array_equal(slices[1]["image"], training_slices(tmp_path, 4)[1]["image"])  # the same seed, the same slices
    report("abdomen", str(tmp_path), examples=1)
    text = (tmp_path / "report.html").read_text()
    assert "8 slices of 2 files" in text and "data:image/png" in text
