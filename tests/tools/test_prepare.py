import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from tools.datasets.brats import read, subject_of
from tools.phantoms.brats import brats
from tools.prepare import prepare, split_by_subject


@pytest.mark.parametrize("release", ["2020", "2021", "2023", "msd"])
def test_every_release_is_read_and_split(tmp_path, release, capsys):
    brats(str(tmp_path), cases=5, seed=2, spacing=8.0, release=release, first=6)  # number 7 of 2023 writes t2W
    prepare("brats", str(tmp_path), str(tmp_path / "out" / "list.json"), testing=0.2, validation=0.2)
    content = json.loads((tmp_path / "out" / "list.json").read_text())
    assert [len(content[s]) for s in ("training", "validation", "testing")] == [3, 1, 1]
    for item in content["training"]:
        files = [item["image"]] if isinstance(item["image"], str) else item["image"]
        assert all((tmp_path / f).is_file() for f in [*files, item["label"]])
        if release == "msd":
            assert item["channels"] == ["flair", "t1", "t1ce", "t2"] and item["convention"] == "msd"
    assert "5 cases of 5 subjects: 5 good, 0 without label, 0 with problems" in capsys.readouterr().out


def test_the_odd_label_of_case_355_is_found(tmp_path):
    brats(str(tmp_path), cases=1, spacing=8.0, first=355)
    (case,) = read(str(tmp_path))
    assert case["case"] == "BraTS20_Training_355" and case["label"].endswith("W39_1998.09.19_Segm.nii.gz")


def test_every_problem_is_printed_with_its_file_and_the_case_left_out(tmp_path, capsys):
    brats(str(tmp_path), cases=10, seed=2, spacing=8.0)
    root = tmp_path / "MICCAI_BraTS2020_TrainingData"

    def path(case, name):
        return root / f"BraTS20_Training_{case:03d}" / f"BraTS20_Training_{case:03d}_{name}.nii.gz"

    def rewrite(path, data=None, affine=None):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj) if data is None else data, affine or image.affine), path)

    path(1, "t2").unlink()
    rewrite(path(2, "t1"), data=np.ones((3, 3, 3), np.int16))
    image = nib.load(path(3, "flair"))
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), np.eye(4)), path(3, "flair"))
    rewrite(path(4, "seg"), data=np.full(nib.load(path(4, "seg")).shape, 7, np.uint8))
    path(5, "t1ce").write_bytes(path(5, "t1ce").read_bytes()[:-2000])
    path(6, "seg").unlink()
    rewrite(path(7, "t1"), data=np.full(nib.load(path(7, "t1")).shape, np.nan, np.float32))
    rewrite(path(7, "t2"), data=np.zeros(nib.load(path(7, "t2")).shape, np.int16))
    prepare("brats", str(tmp_path))
    printed = capsys.readouterr().out
    for case, text in {
        1: "missing sequence, expected t2",
        2: f"{path(2, 't1')}: shape (3, 3, 3) differs from",
        3: f"{path(3, 'flair')}: affine differs",
        4: f"{path(4, 'seg')}: label values ['7'], expected (0, 1, 2, 4)",
        5: f"{path(5, 't1ce')}: not a readable NIfTI image",
        7: f"{path(7, 't2')}: all voxels are zero",
    }.items():
        assert any(line.startswith(f"PROBLEM BraTS20_Training_{case:03d}") and text in line for line in printed.splitlines()), (
            text
        )
    assert f"PROBLEM BraTS20_Training_007: {path(7, 't1')}: " in printed  # both problems of the case are named
    assert "without label, left out: BraTS20_Training_006" in printed
    assert "10 cases of 10 subjects: 3 good, 1 without label, 6 with problems" in printed
    content = json.loads((tmp_path / "datalist.json").read_text())
    names = [i["case"] for s in ("training", "validation", "testing") for i in content[s]]
    assert sorted(names) == [f"BraTS20_Training_{i:03d}" for i in (8, 9, 10)]


def test_a_prepared_dataset_can_be_moved(tmp_path):
    from shared.data import read_datalist

    brats(str(tmp_path / "a"), cases=3, spacing=8.0)
    prepare("brats", str(tmp_path / "a"))
    shutil.move(tmp_path / "a", tmp_path / "b")
    items = read_datalist(tmp_path / "b" / "datalist.json", "training", tmp_path / "b")
    assert all(str(tmp_path / "b") in f for f in items[0]["image"])


def test_time_points_of_one_person_stay_in_one_split():
    cases = [{"case": f"c{i}", "subject": f"s{i // 3}"} for i in range(30)]
    parts = split_by_subject(cases, seed=0, validation=0.2, testing=0.3)
    subjects = [{c["subject"] for c in part} for part in parts.values()]
    assert [len(s) for s in subjects] == [5, 2, 3]
    assert len(set.union(*subjects)) == 10
    assert parts == split_by_subject(cases, seed=0, validation=0.2, testing=0.3)
    assert parts != split_by_subject(cases, seed=1, validation=0.2, testing=0.3)
    assert subject_of("BraTS-GLI-00005-001") == subject_of("BraTS-GLI-00005-000") != subject_of("BraTS-GLI-00006-000")


def test_too_few_subjects_are_refused():
    with pytest.raises(ValueError, match="2 subjects are too few"):
        split_by_subject([{"subject": "a"}, {"subject": "b"}], 0, 0.1, 0.2)


def test_an_unknown_dataset_lists_those_there_are(tmp_path):
    with pytest.raises(ValueError, match="'brast' is none of brats"):
        prepare("brast", str(tmp_path))
