"""Films with words: MIMIC-CXR with reports, and the COVID-19 films of Hannover."""

import gzip
import json

import numpy as np
import pytest
from PIL import Image

from shared.errors import InputError
from tools.datasets.mimic_cxr import METADATA, SPLIT_TABLE, read
from tools.phantoms.mimic_cxr import mimic_cxr
from tools.prepare import prepare


@pytest.fixture
def films(tmp_path):
    mimic_cxr(str(tmp_path), cases=8, seed=1, size=120)
    return tmp_path


def test_the_official_split_pa_films_and_sentences(films, capsys):
    prepare("mimic_cxr", str(films), resized=str(films / "png"), workers=1)
    content, told = json.loads((films / "datalist.json").read_text()), capsys.readouterr().out
    counts = {name: len(content[name]) for name in ("training", "validation", "testing", "without_sentences")}
    # eight films: number 5 is lateral, number 1 has a report without sections; every fourth is for testing
    assert counts == {"training": 2, "validation": 2, "testing": 2, "without_sentences": 1}
    assert "expected a section FINDINGS or IMPRESSION, found EXAMINATION, INDICATION" in told
    texts = [item["sentences"] for name in ("training", "validation", "testing") for item in content[name]]
    assert all(sentences[-1] in ("No acute process.", "Cardiomegaly.", "Pneumonia.") for sentences in texts)
    path = films / content["training"][0]["image"]
    assert path.suffix == ".png" and Image.open(path).size == (120, 100)
    before = path.stat().st_mtime_ns
    prepare("mimic_cxr", str(films), resized=str(films / "png"), workers=1)
    assert path.stat().st_mtime_ns == before  # finished copies stay


def test_large_films_are_copied_with_a_short_side_of_512(tmp_path):
    mimic_cxr(str(tmp_path), cases=4, seed=1, size=720)
    prepare("mimic_cxr", str(tmp_path), resized=str(tmp_path / "png"), workers=1)
    assert {Image.open(path).size for path in (tmp_path / "png").glob("*.png")} == {(614, 512)}


def test_absent_films_tables_and_columns_are_told(films, capsys):
    next(films.rglob("*.jpg")).unlink()
    prepare("mimic_cxr", str(films), workers=1)
    assert "no such file" in capsys.readouterr().out
    with gzip.open(films / f"{SPLIT_TABLE}.gz", "wt") as file:
        file.write("dicom,split\n")
    with pytest.raises(InputError, match="no column dicom_id; found dicom, split"):
        read(str(films))
    (films / f"{METADATA}.gz").unlink()
    (films / f"{SPLIT_TABLE}.gz").unlink()
    with pytest.raises(InputError, match=f"no {SPLIT_TABLE}"):
        read(str(films))


def test_the_films_of_hannover(tmp_path, capsys):
    (tmp_path / "png").mkdir()
    lines = ["patient_id,image_id,sex,age,projection"]
    for i in range(12):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (40, 30), dtype=np.uint8)).save(
            tmp_path / "png" / f"f{i}.png"
        )
        lines.append(f"p{i // 2},f{i},{'mw'[i % 2]},,{'ap' if i < 8 else 'pa'}")
    (tmp_path / "data.csv").write_text("\n".join([*lines, "p9,absent,m,,ap"]) + "\n")
    prepare("hannover", str(tmp_path), workers=1)
    content = json.loads((tmp_path / "datalist.json").read_text())
    items = [item for name in ("training", "validation", "testing") for item in content[name]]
    assert len(items) == 12 and {tuple(item["findings"]) for item in items} == {("COVID-19",)}
    assert {item["sex"] for item in items} == {"M", "F"} and {item["view"] for item in items} == {"AP", "PA"}
    owners = {item["subject"]: name for name in ("training", "validation", "testing") for item in content[name]}
    assert all(owners[item["subject"]] == name for name in ("training", "validation", "testing") for item in content[name])
    assert "no such film absent" in capsys.readouterr().out


def test_copies_that_a_dataset_does_not_know_are_refused(tmp_path):
    with pytest.raises(ValueError, match="--resized is not for hannover"):
        prepare("hannover", str(tmp_path), resized=str(tmp_path / "x"))
