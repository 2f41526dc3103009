"""The RSNA and NIH datasets: synthetic films as the release has them, joined tables, odd rows, splits, report, baseline."""

import csv
import json
from collections import Counter

import numpy as np
import pydicom
import pytest
from PIL import Image

from shared.errors import InputError
from shared.transforms import LoadFilmd
from tools import scores
from tools.baseline import baseline
from tools.baselines.nih_pixels import fit
from tools.datasets import nih, rsna
from tools.films import SYNTAXES
from tools.phantoms.rsna import rsna as phantom
from tools.prepare import prepare
from tools.report import report


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rsna")
    phantom(str(folder), cases=16, seed=3, size=96)
    return folder


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_films_and_tables_are_like_those_of_the_release(films):
    labels, info = (rows_of(films / name) for name in (rsna.LABELS, rsna.INFO))
    assert tuple(labels[0]) == ("patientId", "x", "y", "width", "height", "Target")
    files = sorted((films / rsna.IMAGES).glob("*.dcm"))
    assert {path.stem for path in files} == {row["patientId"] for row in labels} == {row["patientId"] for row in info}
    assert len(labels) > len(files)  # several boxes, several rows
    for row in labels:
        assert (row["Target"] == "1") == bool(row["x"])
    headers = [pydicom.dcmread(path) for path in files]
    assert {h.file_meta.TransferSyntaxUID for h in headers} == {SYNTAXES["jpeg"][1]}
    assert {h.PatientAge for h in headers} >= {"155"} and {h.ViewPosition for h in headers} == {"AP", "PA", ""}
    assert all(h.PatientID == path.stem and h.BitsStored == 8 for h, path in zip(headers, files, strict=True))


def test_an_opacity_is_brighter_than_the_same_lung_without(films):
    def pixels(name):
        return LoadFilmd(window=(0, 100))({"image": str(films / rsna.IMAGES / f"{name}.dcm")})["image"][0].numpy()

    healthy = next(row["patientId"] for row in rows_of(films / rsna.INFO) if row["class"] == rsna.CLASSES[0])
    boxes = [row for row in rows_of(films / rsna.LABELS) if row["x"]]
    assert boxes
    for row in boxes:
        x, y, width, height = (float(row[key]) for key in ("x", "y", "width", "height"))
        middle = tuple(slice(round(at + 0.35 * n), round(at + 0.65 * n)) for at, n in ((y, height), (x, width)))
        assert pixels(row["patientId"])[middle].mean() > pixels(healthy)[middle].mean() + 0.05


def test_the_seed_and_the_place_make_the_film(tmp_path, films):
    phantom(str(tmp_path), cases=2, seed=3, size=96)
    for path in (tmp_path / rsna.IMAGES).glob("*.dcm"):
        assert path.read_bytes() == (films / rsna.IMAGES / path.name).read_bytes()
    with pytest.raises(FileExistsError, match="exists already"):
        phantom(str(tmp_path), cases=1)
    with pytest.raises(ValueError, match="syntax is 'gif'"):
        phantom(str(tmp_path / "b"), syntax="gif")


def test_all_compressions_in_turn(tmp_path):
    phantom(str(tmp_path), cases=6, size=64, syntax="mixed")
    found = {pydicom.dcmread(p).file_meta.TransferSyntaxUID for p in (tmp_path / rsna.IMAGES).glob("*.dcm")}
    assert found == {uid for _, uid in SYNTAXES.values()}


def test_rows_of_a_patient_become_one_case(films):
    cases = rsna.read(str(films))
    assert len(cases) == 16 and not any("problem" in item for item in cases)
    labels = Counter(row["patientId"] for row in rows_of(films / rsna.LABELS) if row["Target"] == "1")
    classes = {row["patientId"]: row["class"] for row in rows_of(films / rsna.INFO)}
    for item in cases:
        assert item["target"] == (item["case"] in labels) and item["class"] == classes[item["case"]]


def test_the_split_is_75_to_25_stratified_and_repeatable(tmp_path):
    phantom(str(tmp_path), cases=40, seed=5, size=48)
    prepare("rsna", str(tmp_path), workers=1)
    first = (tmp_path / "datalist.json").read_text()
    prepare("rsna", str(tmp_path), workers=1, seed=42)
    assert (tmp_path / "datalist.json").read_text() == first
    content = json.loads(first)
    sizes = {name: len(content[name]) for name in ("training", "validation", "testing")}
    assert sizes == {"training": 26, "validation": 4, "testing": 10} and content["seed"] == 42
    share = {name: np.mean([item["target"] for item in content[name]]) for name in ("training", "testing")}
    assert abs(share["training"] - share["testing"]) < 0.15
    assert all("view" in item and item["image"].startswith(rsna.IMAGES) for item in content["training"])


def change(path, text):
    path.write_text(text(path.read_text()))


def test_tables_that_contradict_or_name_absent_files(tmp_path, capsys):
    phantom(str(tmp_path), cases=12, seed=3, size=48)
    names = sorted(p.stem for p in (tmp_path / rsna.IMAGES).glob("*.dcm"))
    labels, info = tmp_path / rsna.LABELS, tmp_path / rsna.INFO
    own = {row["patientId"]: row for row in rows_of(labels)}
    well = [name for name in names if own[name]["Target"] == "0"]
    with labels.open("a") as file:
        file.write("absent,,,,,0\n")  # a label of a film that is not there
        file.write(f"{well[0]},1,1,1,1,1\n")  # sick and well
    kept = [row for row in rows_of(info) if row["patientId"] != well[1]]
    info.write_text("patientId,class\n" + "".join(f"{r['patientId']},{r['class']}\n" for r in kept))  # in one table only
    folder = tmp_path / rsna.IMAGES
    twin = pydicom.dcmread(folder / f"{well[2]}.dcm")
    twin.save_as(folder / "twin.dcm")  # no row
    other = pydicom.dcmread(folder / f"{well[3]}.dcm")
    other.SOPInstanceUID = twin.SOPInstanceUID
    other.save_as(folder / f"{well[3]}.dcm")
    (folder / f"{well[4]}.dcm").write_bytes((folder / f"{well[4]}.dcm").read_bytes()[:1500])
    prepare("rsna", str(tmp_path), workers=1)
    said = capsys.readouterr().out
    for text in (
        f"PROBLEM absent: {labels} row",
        f"no such file {folder / 'absent.dcm'}",
        f"the rows of {well[0]} contradict each other: 0, 1",
        f"{well[1]} is in one of the two tables only",
        "the same SOP instance as",
        f"PROBLEM {well[4]}: {folder / well[4]}.dcm: ",
        f"NOTE twin: {folder / 'twin.dcm'}: no row in {labels}",
    ):
        assert text in said, text
    with pytest.raises(InputError, match=f"no {rsna.INFO}; found"):
        info.unlink()
        rsna.read(str(tmp_path))


@pytest.fixture
def nih_films(tmp_path):
    """Twenty films as NIH gives them, half of them larger files, with the release's broken header."""
    rng, rows = np.random.default_rng(0), []
    for i in range(20):
        values = np.full((64, 64), 90.0)
        values[tuple(slice(8 + 24 * (i % 2), 28 + 24 * (i % 2)) for _ in range(2))] = 160
        values += rng.normal(0, 4 + 4 * (i % 2), values.shape)
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{i:08d}_000.png")
        label = ("No Finding", "Pneumonia|Effusion")[i % 2] if i != 18 else "Effusion"
        rows.append(f"{i:08d}_000.png,{label},{i},{30 + i},{'MF'[i % 3 == 0]},{'PA' if i % 4 else 'AP'},2500,2048,0.2,0.1")
    header = "Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,Height]"
    rows.append(rows[0])
    rows.append("00000099_000.png,Pneumonia,99,50,M,AP,2500,2048,0.2,0.1")
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join([f"{header},OriginalImagePixelSpacing[x,y]", *rows]) + "\n")
    return tmp_path


def test_nih_films_become_dicom_with_tags_and_their_true_shape(nih_films, tmp_path_factory, capsys, monkeypatch):
    monkeypatch.setattr(scores, "RESAMPLES", 50)
    out = tmp_path_factory.mktemp("dicom")
    prepare(
        "nih", str(nih_films), output=str(out / "datalist.json"), dicom=str(out / "films"), folds=2, validation=0, workers=1
    )
    said = capsys.readouterr().out
    assert "NOTE 00000000_000" in said and "repeats an earlier row" in said
    assert "PROBLEM 00000099_000" in said and "no such file 00000099_000.png" in said
    content = json.loads((out / "datalist.json").read_text())
    items = [item for name in ("training", "testing") for item in content[name]]
    assert Counter(item["class"] for item in items) == {nih.CLASSES[0]: 9, nih.CLASSES[1]: 1, nih.CLASSES[2]: 10}
    item = next(i for i in items if i["case"] == "00000001_000")
    assert item["target"] == 1 and item["bytes"] > 1000 and "age" not in item
    film = LoadFilmd()({**item, "image": str(nih_films / item["image"])})
    assert (film["age"], film["sex"], film["view"], film["patient"]) == ("031Y", "M", "PA", "1")
    np.testing.assert_allclose(film["image"].pixdim[:2], (2048 * 0.1 / 64, 2500 * 0.2 / 64))
    direct = LoadFilmd()(next(i for i in nih.read(str(nih_films)) if i["case"] == item["case"]))
    np.testing.assert_allclose(direct["image"], film["image"], atol=1e-6)
    np.testing.assert_allclose(direct["image"].affine, film["image"].affine, atol=1e-6)
    baseline("nih_pixels", str(nih_films), str(out / "datalist.json"))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| auc |")]
    assert [float(line.split("|")[2]) for line in lines] == [pytest.approx(1, abs=0.1), pytest.approx(1, abs=0.1)]


def test_copies_as_dicom_are_for_datasets_with_a_table(films):
    with pytest.raises(ValueError, match="--dicom is not for rsna"):
        prepare("rsna", str(films), dicom="x")


def test_the_pixels_fit_agrees_with_its_own_gradient():
    """At the optimum the penalised likelihood has no slope; computed here by hand, on all components."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 3, (30, 5))
    y = (x[:, 0] + rng.normal(0, 2, 30) > 0).astype(float)
    mean, weights, offset = fit(x, y)
    prob = 1 / (1 + np.exp(-((x - mean) @ weights + offset)))
    np.testing.assert_allclose((x - mean).T @ (prob - y) + 100 * weights, 0, atol=1e-3)
    assert (prob - y).sum() == pytest.approx(0, abs=1e-3)


def test_the_report_shows_what_there_is(films, tmp_path):
    report("rsna", str(films), output=str(tmp_path), workers=1)
    html = (tmp_path / "report.html").read_text()
    for text in ("16 films, 0 with problems", "96 x 96 pixels (16)", "View, sex and age", "age is 155", "Examples", "opacity"):
        assert text in html, text
    assert html.count("<svg ") == 3 and html.count("data:image/png") == 1
