"""The bundle from end to end: training, variants, calibration, evaluation, inference, odd tags and damaged films."""

import json
import logging

import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import run
from PIL import Image

from shared.errors import InputError
from shared.handlers import calibration
from shared.handlers.case_table import read_rows
from tools import bundles
from tools.datasets.rsna import IMAGES
from tools.phantoms.rsna import rsna
from tools.prepare import prepare

from .conftest import REAL_IMAGES, config

BUNDLE = "rsna_pneumonia_cls"
SMALL = {"device": "cpu", "image_size": 32, "films_per_batch": 8, "warmup_epochs": 1}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Sixty prepared synthetic films, with folds."""
    folder = tmp_path_factory.mktemp("rsna")
    rsna(str(folder), cases=60, seed=4, size=64, syntax="mixed")
    prepare("rsna", str(folder), validation=0.4, testing=0.2, workers=1)
    return folder


@pytest.fixture(scope="module")
def trained(films, tmp_path_factory):
    """Two epochs, straight and with a break."""
    root = tmp_path_factory.mktemp("runs")
    patch = pytest.MonkeyPatch()
    patch.setattr(calibration, "LEAST", 2)  # there are few films to validate
    for name, parts in {"straight": [2], "broken": [1, 2]}.items():
        for epochs in parts:
            run(config_file=config("train", BUNDLE), dataset_dir=str(films), output_dir=str(root / name), max_epochs=epochs,
                resume=epochs != parts[0], **{**SMALL, "lr_scheduler::t_total": 2})  # fmt: skip
    patch.undo()
    return root


def infer(data, output, **options):
    run(config_file=config("inference", BUNDLE), dataset_dir=str(data), output_dir=str(output), device="cpu",
        **{"workers": 0, **options})  # fmt: skip


def test_training_saves_calibrates_and_goes_on_exactly(trained):
    straight, broken = (torch.load(trained / n / "last.pt", weights_only=True) for n in ("straight", "broken"))
    assert straight["epoch"] == broken["epoch"] == 2
    for key, value in straight["network"].items():
        assert torch.equal(value, broken["network"][key]), key
    assert straight["network"]["temperature"] != 1 and straight["network"]["threshold"] != 0.5
    assert list((trained / "straight").glob("events*"))


@pytest.mark.parametrize("overlays", [[], ["image_only"], ["tags_only"]])
def test_variants_learn_and_are_scored(films, trained, overlays, tmp_path):
    layers, weights = [config(name, BUNDLE) for name in overlays], trained / "straight" / "model.pt"
    if overlays:
        files = [config("train", BUNDLE), *layers]
        run(config_file=files, dataset_dir=str(films), output_dir=str(tmp_path), max_epochs=1, **SMALL)
        weights = tmp_path / "model.pt"
    names = list(torch.load(weights, weights_only=True))
    assert any(n.startswith("image.") for n in names) == ("tags_only" not in overlays)
    assert any(n.startswith("tag_branch.") for n in names) == ("image_only" not in overlays)
    run(config_file=[config("train", BUNDLE), *layers, config("evaluate", BUNDLE)], dataset_dir=str(films),
        output_dir=str(tmp_path / "scores"), checkpoint=str(weights), **SMALL)  # fmt: skip
    testing = {item["case"]: item for item in json.loads((films / "datalist.json").read_text())["testing"]}
    rows = read_rows(tmp_path / "scores" / "per_case.csv")
    assert set(rows) == set(testing)
    state = torch.load(weights, weights_only=True)
    for case, row in rows.items():
        prob, raw = float(row["prob"]), float(row["prob_raw"])
        assert float(row["target"]) == testing[case]["target"] and row["view"] == testing[case]["view"]
        assert (prob >= float(state["threshold"])) == (row["decision"] == "1")
        odds = np.log(prob / (1 - prob)) * float(state["temperature"])
        assert odds == pytest.approx(np.log(raw / (1 - raw)), abs=0.02)


def test_a_row_and_a_picture_per_film(films, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for path in sorted((films / IMAGES).glob("*.dcm"))[:7]:
        (data / path.name).write_bytes(path.read_bytes())
    files = sorted(data.iterdir())
    infer(data, tmp_path, cam=True, workers=2)
    rows = read_rows(tmp_path / "pneumonia.csv")
    assert list(rows) == [path.stem for path in files]
    for path in files:
        row = rows[path.stem]
        assert row["file"] == path.name and row["patient"] == pydicom.dcmread(path, stop_before_pixels=True).PatientID
        assert 0 < float(row["probability"]) < 1 and row["class"] in ("pneumonia", "no pneumonia")
        assert Image.open(tmp_path / "cam" / f"{path.stem}.png").size[0] > 300
    before = (tmp_path / "pneumonia.csv").read_bytes()
    infer(data, tmp_path)  # nothing is left to do
    assert (tmp_path / "pneumonia.csv").read_bytes() == before


def test_dicom_and_png_of_the_same_film_get_the_same_answer(films, tmp_path):
    source = pydicom.dcmread(sorted((films / IMAGES).glob("*.dcm"))[0])
    Image.fromarray(source.pixel_array).save(tmp_path / "film.png")
    other = pydicom.dcmread(source.filename)
    other.decompress()
    values = other.pixel_array
    other.PixelData, other.PhotometricInterpretation = (255 - values).tobytes(), "MONOCHROME1"
    other.save_as(tmp_path / "inverted.dcm")
    source.SOPInstanceUID = source.SOPInstanceUID[:-1] + "9"  # else it is a duplicate
    source.save_as(tmp_path / "same.dcm")
    header = "file,patient,age,sex,view,spacing"
    cells = ("film.png", "7", source.PatientAge, source.PatientSex, source.ViewPosition, source.PixelSpacing[0])
    (tmp_path / "table.csv").write_text(f"{header}\n{','.join(map(str, cells))}\n")
    infer(tmp_path, tmp_path / "out", table=str(tmp_path / "table.csv"))
    rows = read_rows(tmp_path / "out" / "pneumonia.csv")
    assert set(rows) == {"film", "inverted", "same"} and rows["film"]["patient"] == "7"
    numbers = [float(row["probability"]) for row in rows.values()]
    np.testing.assert_allclose(numbers, numbers[0], atol=0.01)


@pytest.mark.parametrize("tags", [{}, {"PatientAge": "155", "PatientSex": "O", "ViewPosition": "LL"}])
def test_missing_and_odd_tags_are_unknown_with_a_warning(films, tags, tmp_path, caplog):
    film = pydicom.dcmread(sorted((films / IMAGES).glob("*.dcm"))[0])
    for name in ("PatientAge", "PatientSex", "ViewPosition", "PixelSpacing", "PatientID"):
        delattr(film, name)
    for name, value in tags.items():
        setattr(film, name, value)
    (tmp_path / "in").mkdir()
    film.save_as(tmp_path / "in" / "film.dcm")
    with caplog.at_level(logging.WARNING):
        infer(tmp_path / "in", tmp_path / "out", logging_file=False)
    assert "film.dcm" in caplog.text and "taken as unknown" in caplog.text and "pixel spacing unknown" in caplog.text
    row = read_rows(tmp_path / "out" / "pneumonia.csv")["film"]
    assert row["patient"] == "" and row["view"] == "" and 0 < float(row["probability"]) < 1


def test_damaged_films_are_named_and_the_others_finish(films, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    good = sorted((films / IMAGES).glob("*.dcm"))[0]
    (data / "good.dcm").write_bytes(good.read_bytes())
    (data / "twin.dcm").write_bytes(good.read_bytes())
    (data / "text.dcm").write_text("no image")
    (data / "cut.dcm").write_bytes(sorted((films / IMAGES).glob("*.dcm"))[1].read_bytes()[:1500])
    empty = pydicom.dcmread(sorted((films / IMAGES).glob("*.dcm"))[2])
    del empty.PixelData
    empty.save_as(data / "empty.dcm")
    with pytest.raises(InputError) as error:
        infer(data, tmp_path / "out")
    message = str(error.value)
    assert "4 of 5 cases failed" in message
    reasons = {"twin": "the same SOP instance as", "text": "not a readable DICOM", "cut": "", "empty": "no pixel data"}
    for name, reason in reasons.items():
        assert f"{name}.dcm: {reason}" in message, message
    assert list(read_rows(tmp_path / "out" / "pneumonia.csv")) == ["good"]


def test_the_image_branch_can_be_a_densenet121():
    from monai.bundle import ConfigParser

    parser = ConfigParser(ConfigParser.load_config_files([config("train", BUNDLE), config("densenet121", BUNDLE)]))
    network = parser.get_parsed_content("network_def").eval()
    assert sum(p.numel() for p in network.parameters()) > 6e6
    with torch.no_grad():
        assert network(torch.rand(1, 1, 64, 64)).shape == (1, 1)


@pytest.mark.skipif(not (REAL_IMAGES / "nih_cxr_512").is_dir(), reason="needs real films beside the checkout, nih_cxr_512")
def test_a_real_film_gets_the_same_answer_at_another_resolution(tmp_path):
    """512 pixels, doubled and halved: the answer depends on the patient, not on the file."""
    names = sorted((REAL_IMAGES / "nih_cxr_512" / "Pneumonia").glob("*.png"))[:8]
    for path in names:
        with Image.open(path) as image:
            grey = image.convert("L")
        for size in (512, 1024, 384):
            grey.resize((size, size), Image.Resampling.LANCZOS).save(tmp_path / f"{path.stem}_{size}.png")
    infer(tmp_path, tmp_path / "out")
    rows = read_rows(tmp_path / "out" / "pneumonia.csv")
    for path in names:
        first, *others = (float(rows[f"{path.stem}_{size}"]["probability"]) for size in (512, 1024, 384))
        np.testing.assert_allclose(others, first, atol=0.1)


def test_the_card_calls_the_weights_what_they_are():
    text = (bundles.folder(BUNDLE) / "docs" / "README.md").read_text()
    assert "demonstration weights" in text
