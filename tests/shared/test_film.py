"""Radiographs as hospitals send them: compressions, bit depths, both polarities, windows; what is damaged is named."""

import logging

import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian

from shared.data import find_films, negatives_per_positive
from shared.errors import InputError
from shared.transforms import Clahed, FitFilmd, LoadFilmd, ResampleFilmd
from tools.films import SYNTAXES, write_film


def film(bits=8, shape=(48, 64)):
    """Smooth grey values up to the largest of so many bits, brighter to the right and below."""
    y, x = np.mgrid[: shape[0], : shape[1]] / max(shape)
    values = (2**bits - 1) * (0.1 + 0.4 * x + 0.4 * y)
    return np.rint(values).astype(np.uint8 if bits == 8 else np.uint16)


def load(path, **item):
    return LoadFilmd(window=(0, 100))({"image": str(path), **item})


def scaled(values):
    values = values.astype(float)
    return (values - values.min()) / np.ptp(values)


@pytest.mark.parametrize(("syntax", "bits"), [(s, b) for s in SYNTAXES for b in (8, 12, 16) if s != "jpeg" or b == 8])
def test_compressed_films_hold_what_was_written(tmp_path, syntax, bits):
    values = film(bits)
    write_film(tmp_path / "a.dcm", values, "a", (0.2, 0.1), {"BitsStored": bits}, syntax)
    assert pydicom.dcmread(tmp_path / "a.dcm").file_meta.TransferSyntaxUID == SYNTAXES[syntax][1]
    image = load(tmp_path / "a.dcm")["image"]
    np.testing.assert_allclose(image[0], scaled(values), atol=0.03 if syntax == "jpeg" else 1e-5)
    np.testing.assert_allclose(image.pixdim[:2], (0.2, 0.1))


def test_bones_are_bright_in_both_polarities(tmp_path):
    values = film()
    write_film(tmp_path / "a.dcm", 255 - values, "a", (1, 1), {"PhotometricInterpretation": "MONOCHROME1"})
    np.testing.assert_allclose(load(tmp_path / "a.dcm")["image"][0], scaled(values), atol=1e-6)


def test_rescaling_comes_before_the_window_of_the_file(tmp_path):
    values = film(12)
    tags = {"BitsStored": 12, "RescaleSlope": "2", "RescaleIntercept": "-1000", "RescaleType": "US"}
    write_film(tmp_path / "a.dcm", values, "a", (1, 1), {**tags, "WindowCenter": "2000", "WindowWidth": "1000"})
    low, high = 2000 - 0.5 - 999 / 2, 2000 - 0.5 + 999 / 2  # PS3.3 C.11.2.1.2
    expected = ((2.0 * values - 1000 - low) / (high - low)).clip(0, 1)
    image = LoadFilmd()({"image": str(tmp_path / "a.dcm")})["image"]  # its own percentiles must not count
    np.testing.assert_allclose(image[0], expected, atol=1e-3)


def test_percentiles_count_where_the_file_names_no_window(tmp_path):
    values = film()
    values[0, 0] = 255  # a marker must not make the rest dark
    write_film(tmp_path / "a.dcm", values, "a", (1, 1))
    image = LoadFilmd(window=(1, 99))({"image": str(tmp_path / "a.dcm")})["image"]
    low, high = np.percentile(values, [1, 99])
    np.testing.assert_allclose(image[0], ((values - low) / (high - low)).clip(0, 1), atol=1e-5)


def test_tags_of_the_file_and_of_a_table(tmp_path):
    tags = {"PatientID": "P7", "PatientAge": "061Y", "PatientSex": "F", "ViewPosition": "AP"}
    write_film(tmp_path / "a.dcm", film(), "a", (1, 1), tags)
    item = load(tmp_path / "a.dcm")
    assert (item["patient"], item["age"], item["sex"], item["view"]) == ("P7", "061Y", "F", "AP")
    item = load(tmp_path / "a.dcm", view="PA", age="33")
    assert (item["age"], item["sex"], item["view"]) == ("33", "F", "PA")


def test_spacing_unknown_absurd_or_of_the_detector(tmp_path, caplog):
    write_film(tmp_path / "none.dcm", film(), "a")
    write_film(tmp_path / "absurd.dcm", film(), "b", (0.0, 200.0), {"ImagerPixelSpacing": ["0.3", "0.3"]})
    with caplog.at_level(logging.WARNING):
        unknown, absurd = (load(tmp_path / f"{name}.dcm")["image"] for name in ("none", "absurd"))
    np.testing.assert_allclose(unknown.pixdim[:2], 400 / 64)
    np.testing.assert_allclose(absurd.pixdim[:2], 0.3)
    assert "none.dcm: pixel spacing unknown, the longer side is taken for 400 mm" in caplog.text
    assert "PixelSpacing is 0 x 200 mm, which no radiograph has" in caplog.text


@pytest.mark.parametrize("mode", ["L", "I;16", "RGBA", "RGB", "LA", "P"])
def test_pictures_in_every_grey_mode(tmp_path, mode):
    values = film()
    if mode == "I;16":
        Image.fromarray(values.astype(np.uint16) * 100).save(tmp_path / "a.png")
    else:
        Image.fromarray(values).convert(mode).save(tmp_path / "a.png")
    image = load(tmp_path / "a.png", extent=[48.0, 128.0])["image"]
    np.testing.assert_allclose(image[0], scaled(values), atol=1e-5)
    np.testing.assert_allclose(image.pixdim[:2], (1, 2))  # of an extent in mm


def test_a_jpeg_in_grey(tmp_path):
    Image.fromarray(film()).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(load(tmp_path / "a.jpg")["image"][0], scaled(film()), atol=0.03)


def damaged(folder, name):
    """A file that cannot be used."""
    path = folder / f"{name}.dcm"
    changes = {
        "frames": {"NumberOfFrames": 2},
        "colour": {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0},
    }.get(name, {})
    write_film(path, film(), name, (1, 1), changes, "lossless" if name in ("truncated", "unknown") else "raw")
    data = pydicom.dcmread(path)
    if name == "no_pixels":
        del data.PixelData
    elif name == "short":
        data.PixelData = data.PixelData[:1000]
    elif name == "truncated":
        data.PixelData = data.PixelData[:400] + b"\xfe\xff\xdd\xe0\0\0\0\0"
    elif name == "unknown":
        data.file_meta.TransferSyntaxUID = "1.2.3.4"
    elif name == "flat":
        data.PixelData = bytes(len(data.PixelData))
    if name == "text":
        path.write_text("no image")
    elif name != "unknown":
        data.save_as(path)
    else:
        content = path.read_bytes()
        path.write_bytes(content.replace(b"1.2.840.10008.1.2.4.70", b"1.2.840.10008.1.2.4.99"))
    return path


WRONG = {
    "no_pixels": "no pixel data",
    "frames": "2 frames, expected a single radiograph",
    "colour": "photometric interpretation RGB",
    "short": "pixel data cannot be decoded",
    "truncated": "pixel data cannot be decoded",
    "unknown": "pixel data cannot be decoded",
    "flat": "expected an image",
    "text": "not a readable DICOM file",
}


@pytest.mark.parametrize("name", WRONG)
def test_damaged_files_are_named_with_what_is_wrong(tmp_path, name):
    path = damaged(tmp_path, name)
    with pytest.raises(ValueError, match=WRONG[name]) as error:
        load(path)
    assert str(path) in str(error.value)


def test_colour_pictures_and_text_are_refused(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 9, 3)).astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="a.png: a RGB image whose colours differ"):
        load(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("none")
    with pytest.raises(ValueError, match="b.png: not a readable image"):
        load(tmp_path / "b.png")
    with pytest.raises(ValueError, match="c.png: no such file"):
        load(tmp_path / "c.png")


def test_resampling_keeps_a_circle_round_and_in_place():
    y, x = np.mgrid[:200, :100]
    # a disc of 20 mm radius at row 40 mm, column 30 mm, on pixels of 0.5 x 1 mm
    disc = (np.hypot((y + 0.5) * 0.5 - 40, (x + 0.5) - 30) < 20).astype(np.float32)
    image = MetaTensor(torch.from_numpy(disc)[None], affine=torch.diag(torch.tensor([0.5, 1, 1, 1], dtype=torch.float64)))
    found = ResampleFilmd("image", 2.0)({"image": image})["image"]
    assert found.shape == (1, 50, 50)
    rows, columns = np.nonzero(found[0].numpy() > 0.5)
    assert np.ptp(rows) == np.ptp(columns) == 19
    places = np.asarray(found.affine)[:2, :2] @ [rows.mean(), columns.mean()] + np.asarray(found.affine)[:2, 3]
    np.testing.assert_allclose(places, (40 - 0.25, 30 - 0.5), atol=0.05)  # the first pixel's middle is the origin
    assert float(found.sum()) * 4 == pytest.approx(np.pi * 400, rel=0.02)  # mm2
    with pytest.raises(ValueError, match="is its spacing 0.5 x 1 mm right"):
        ResampleFilmd("image", 50.0)({"image": image})


def test_noise_does_not_alias():
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 600, 600)).astype(np.float32))
    image = MetaTensor(noise, affine=torch.diag(torch.tensor([0.2, 0.2, 1, 1], dtype=torch.float64)))
    small = ResampleFilmd("image", 1.0)({"image": image})["image"]
    assert float(small.std()) < 0.25  # a mean over 5 x 5 pixels has 0.2 or less


def test_fitting_keeps_the_aspect_ratio():
    image = MetaTensor(torch.ones(1, 40, 80), affine=torch.diag(torch.tensor([1, 1, 1, 1], dtype=torch.float64)))
    found = FitFilmd("image", 32)({"image": image})["image"]
    assert found.shape == (1, 32, 32)
    assert found[0, 8:24].min() > 0.999 and found[0, :8].max() == 0 and found[0, 24:].max() == 0
    np.testing.assert_allclose(found.affine[:2, 3], (-8 * 2.5 + 0.75, 0.75))


def test_clahe_spreads_dim_parts_and_limits_contrast():
    rng = np.random.default_rng(0)
    dim = 0.3 + 0.02 * rng.random((1, 128, 128)).astype(np.float32)
    image = torch.from_numpy(np.concatenate([dim, dim + 0.4], 2))
    strong, weak = (Clahed("image", clip=clip)({"image": image})["image"] for clip in (40.0, 1.0))
    assert strong.min() >= 0 and strong.max() <= 1
    assert strong[..., :100].std() > 2 * weak[..., :100].std() > 0


def test_finding_films_and_what_a_table_says(tmp_path, caplog):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_film(tmp_path / name / "a.dcm", film(), name, (1, 1))
    (tmp_path / "two" / "again.dcm").write_bytes((tmp_path / "two" / "a.dcm").read_bytes())
    (tmp_path / "1.2.826.0.55").write_bytes((tmp_path / "one" / "a.dcm").read_bytes().replace(b"DICM", b"DICM"))
    Image.fromarray(film()).save(tmp_path / "b.png")
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "table.csv").write_text(
        "Image Index,Patient ID,Patient Age,View Position,spacing\nb.png,9,44,PA,0.2 0.3\nc.png,1,2,AP,\n"
    )
    with caplog.at_level(logging.WARNING):
        cases = {item["case"]: item for item in find_films(tmp_path, tmp_path / "table.csv")}
    assert set(cases) == {"1.2.826.0.55", "b", "one_a", "two_a", "two_again"}
    assert cases["b"]["patient"] == "9" and cases["b"]["spacing"] == [0.2, 0.3] and cases["b"]["view"] == "PA"
    assert "1 rows name files that are not below" in caplog.text
    assert "the same SOP instance as" in cases["two_again"]["problem"] and "the same" in cases["one_a"]["problem"]
    with pytest.raises(ValueError, match="the same SOP instance"):
        LoadFilmd()(cases["two_again"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no radiograph below"):
        find_films(tmp_path / "empty")
    with pytest.raises(InputError, match="which is not a folder"):
        find_films(tmp_path / "absent")
    with pytest.raises(InputError, match="no table"):
        find_films(tmp_path, tmp_path / "absent.csv")


def test_weight_of_positives():
    assert negatives_per_positive([{"target": t} for t in (0, 0, 0, 1)]) == 3
    with pytest.raises(InputError, match="0 of 2 training cases have target 1"):
        negatives_per_positive([{"target": 0}, {"target": 0}])


def test_the_syntax_for_raw_films_is_explicit():
    assert SYNTAXES["raw"][1] == ExplicitVRLittleEndian
