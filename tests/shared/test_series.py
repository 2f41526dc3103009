"""DICOM series as volumes: where voxels lie, what is damaged, masks, brightness."""

import logging

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation
from PIL import Image

from shared.data import find_series
from shared.errors import InputError
from shared.transforms import LoadSeriesd, OrganMasksd, ScaleAbdomend
from tools.films import write_slice

ROWS, COLUMNS, SLICES = 10, 14, 5
AXIAL = (1, 0, 0, 0, 1, 0)
OBLIQUE = (0.8, 0.6, 0, -0.48, 0.64, 0.6)  # a turn about two axes


def volume():
    """Stored values (slices, rows, columns), all different."""
    return np.arange(SLICES * ROWS * COLUMNS, dtype=np.uint16).reshape(SLICES, ROWS, COLUMNS) + 1


def write(folder, orientation=AXIAL, places=None, modality="MR", series="a series", pixels=None, **tags):
    """A series whose slices lie `places` mm along their normal, 2 x 1.5 mm pixels, named against their order."""
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(*np.reshape(orientation, (2, 3)).astype(float))
    places = [8.0 * i for i in range(SLICES)] if places is None else places
    pixels = volume() if pixels is None else pixels
    for index, place in enumerate(places):
        more = {"ImageOrientationPatient": list(orientation), "InstanceNumber": index + 1, **tags}
        path = folder / f"{series[0]}{99 - index}.dcm"
        position = tuple(np.array([5, 6, 7]) + place * normal)
        write_slice(path, pixels[index], (series, str(index)), (2.0, 1.5), position, modality, more)
    return sorted(str(path) for path in folder.glob(f"{series[0]}*.dcm"))


def load(files, **item):
    return LoadSeriesd("label" if "label" in item else None)({"image": files, "case": "c", **item})


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE, (-1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1)])
@pytest.mark.parametrize("backwards", [False, True])
def test_every_voxel_lies_where_its_dicom_file_says(tmp_path, orientation, backwards):
    """By the standard's formula C.7.6.2.1-1, for some voxels, whatever the order of the files."""
    files = write(tmp_path, orientation, [(-8.0 if backwards else 8.0) * i for i in range(SLICES)])
    image = load(files)["image"]
    assert image.shape == (1, COLUMNS, ROWS, SLICES) and image.meta["modality"] == "MR"
    for index, (row, column) in enumerate([(0, 0), (3, 7), (9, 13), (5, 1), (2, 2)]):
        header = pydicom.dcmread(tmp_path / f"a{99 - index}.dcm")
        along_row, along_column = np.reshape(np.array(header.ImageOrientationPatient, float), (2, 3))
        height, width = (float(mm) for mm in header.PixelSpacing)
        lps = np.array(header.ImagePositionPatient, float) + along_row * width * column + along_column * height * row
        (voxel,) = torch.nonzero(image[0] == float(volume()[index, row, column])).tolist()
        ras = (np.asarray(image.affine) @ [*voxel, 1])[:3]
        assert ras == pytest.approx(lps * (-1, -1, 1), abs=1e-4)
    assert image.meta["series"] == sorted(image.meta["series"], reverse=not backwards)


def test_values_of_ct_are_hounsfield_units_and_nifti_tells_ct_by_its_values(tmp_path):
    files = write(tmp_path / "ct", modality="CT", RescaleSlope=2, RescaleIntercept=-1000)
    image = load(files)["image"]
    assert float(image.min()) == 2 * 1 - 1000 and image.meta["modality"] == "CT"
    nib.save(nib.Nifti1Image(image[0].numpy(), np.asarray(image.affine)), tmp_path / "ct.nii.gz")
    again = load([str(tmp_path / "ct.nii.gz")])["image"]
    assert torch.equal(again.as_tensor(), image.as_tensor()) and again.meta["modality"] == "CT"
    assert again.meta["series"] == []


DAMAGE = {
    "a missing slice": ({"places": [0, 8, 16, 32, 40]}, "16.00 mm apart, expected 8.00 mm.*1 missing slice"),
    "unequal gaps": ({"places": [0, 8, 16, 26, 34]}, "10.00 mm apart, expected 8.00 mm.*unequal spacing"),
    "slices at one place": ({"places": [0, 8, 8, 16, 24], "EchoTime": 4.6}, "two slices at one place.*4.6"),
    "an ultrasound": ({"modality": "US"}, "modality US, expected MR or CT"),
    "one slice": ({"places": [0]}, "single slice"),
    "all zero": ({"pixels": np.zeros((SLICES, ROWS, COLUMNS), np.uint16)}, "all voxels are zero"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_series_is_named(tmp_path, damage):
    options, message = DAMAGE[damage]
    with pytest.raises(ValueError, match=message) as found:
        load(write(tmp_path, **options))
    assert str(tmp_path) in str(found.value)


def test_two_series_in_one_folder_and_slices_of_other_kinds_are_named(tmp_path):
    write(tmp_path / "two", places=[0, 8, 16])
    write(tmp_path / "two", places=[24, 32], series="b series")
    files = sorted(str(p) for p in (tmp_path / "two").glob("*.dcm"))
    with pytest.raises(ValueError, match=r"two: 2 series in one folder, expected one; found .* \(3 files\), .* \(2 files\)"):
        load(files)
    for name, value in {"Rows": 9, "PixelSpacing": [2.1, 1.5], "ImageOrientationPatient": list(OBLIQUE)}.items():
        files = write(tmp_path / name)
        header = pydicom.dcmread(files[2])
        setattr(header, name, value)
        header.save_as(files[2])
        with pytest.raises(ValueError, match=f"{name} is .*, but .*expected one series"):
            load(files)
    files = write(tmp_path / "bare")
    header = pydicom.dcmread(files[1])
    del header.ImagePositionPatient
    header.save_as(files[1])
    with pytest.raises(ValueError, match="no ImagePositionPatient"):
        load(files)
    (tmp_path / "bare" / "a98.dcm").write_bytes(b"\0" * 200)
    with pytest.raises(ValueError, match="not a readable DICOM file"):
        load(files)


def masks(folder, files, grey=63, shape=(ROWS, COLUMNS)):
    """A PNG for each file, with one bright pixel at its row and column = place in the list."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, _ in enumerate(files):
        values = np.zeros(shape, np.uint8)
        values[index, index + 1] = grey
        paths.append(str(folder / f"m{index}.png"))
        Image.fromarray(values).save(paths[-1])
    return paths


def test_masks_follow_their_files_when_slices_are_sorted(tmp_path):
    files = write(tmp_path / "s")  # names run against positions
    data = load(files, label=masks(tmp_path / "m", files))
    places = torch.nonzero(data["label"][0]).tolist()
    # the first file by name is the last slice
    assert sorted(places) == sorted([i + 1, i, SLICES - 1 - i] for i in range(SLICES))
    assert torch.equal(data["label"].affine, data["image"].affine)
    organs = OrganMasksd("label", ["spleen", "liver"])(data)["label"]
    assert organs.shape == (2, COLUMNS, ROWS, SLICES) and organs[0].sum() == 0 and organs[1].sum() == SLICES


@pytest.mark.parametrize(("grey", "organ"), [(55, 1), (70, 1), (110, 2), (126, 2), (200, 3), (240, 4), (255, 4)])
def test_grey_values_of_mr_masks(tmp_path, grey, organ):
    files = write(tmp_path / "s")
    assert float(load(files, label=masks(tmp_path / "m", files, grey))["label"].max()) == organ


def test_wrong_masks_are_named(tmp_path):
    files = write(tmp_path / "s")
    with pytest.raises(ValueError, match=r"m\d.png: grey values \[90\], expected 0, liver 55-70"):
        load(files, label=masks(tmp_path / "a", files, 90))
    with pytest.raises(ValueError, match=r"m\d.png: 20 x 12 pixels, expected 14 x 10"):
        load(files, label=masks(tmp_path / "b", files, shape=(12, 20)))
    with pytest.raises(ValueError, match="4 masks, expected 5"):
        load(files, label=masks(tmp_path / "c", files)[:4])
    ct = write(tmp_path / "ct", modality="CT", RescaleIntercept=-1000, RescaleSlope=1)
    data = load(ct, label=masks(tmp_path / "d", ct, 255))
    assert float(data["label"].max()) == 1  # liver, which in MR is the spleen's grey value
    with pytest.raises(ValueError, match="spleen not labelled, only liver"):
        OrganMasksd("label", ["liver", "spleen"])(data)


def test_folders_and_nifti_files_are_cases(tmp_path, caplog):
    write(tmp_path / "b" / "x")
    write(tmp_path / "a.nii" / "y")
    (tmp_path / "b" / "x" / "DICOMDIR").write_bytes(b"")
    (tmp_path / "b" / "notes.txt").write_text("")
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3)), np.eye(4)), tmp_path / "b" / "x.nii.gz")
    with caplog.at_level(logging.WARNING):
        found = {item["case"]: len(item["image"]) for item in find_series(tmp_path)}
    assert found == {"a.nii_y": SLICES, "b_x_dicom": SLICES, "b_x_nifti": 1}
    assert [item["case"] for item in find_series(tmp_path / "b" / "x")] == ["x"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no series below"):
        find_series(tmp_path / "empty")
    with pytest.raises(InputError, match="not a folder"):
        find_series(tmp_path / "none")


def test_brightness_does_not_depend_on_the_scanners_scale():
    values = torch.rand(1, 20, 20, 6) * 300
    one, other = (ScaleAbdomend("i")({"i": MetaTensor(values * k, meta={"modality": "MR"})})["i"] for k in (1, 7.5))
    torch.testing.assert_close(one.as_tensor(), other.as_tensor())
    assert 0.95 < float(one.as_tensor().quantile(0.99)) < 1.05
    hounsfield = torch.tensor([-1000.0, -160, 40, 240, 2000]).reshape(1, 5, 1, 1)
    scaled = ScaleAbdomend("i")({"i": MetaTensor(hounsfield, meta={"modality": "CT"})})["i"]
    assert scaled.flatten().tolist() == [0, 0, 0.5, 1, 1]


def test_orientation_undoes_what_the_header_says_is_flipped(tmp_path):
    one, other = (load(write(tmp_path / str(i), o))["image"] for i, o in enumerate([AXIAL, (-1, 0, 0, 0, 1, 0)]))
    ras = Orientation("RAS", labels=None)
    assert torch.equal(ras(one).as_tensor(), ras(other).as_tensor().flip(1).flip(3))
