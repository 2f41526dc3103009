import json
import re
import shutil
from collections import Counter

import nibabel as nib
import numpy as np
import pytest

from tools.datasets.brats import read
from tools.phantoms.brats import brats
from tools.phantoms.ixi import ixi
from tools.prepare import prepare


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
    printed = capsys.readouterr().out
    assert "5 cases of 5 subjects: 5 good, 0 without label, 0 with problems" in printed
    values = Counter(int(v) for i in content["training"] for v in np.unique(nib.load(tmp_path / i["label"]).dataobj) if v)
    present = ", ".join(f"{value} ({number})" for value, number in sorted(values.items()))
    assert f"training: 3 cases of 3 subjects, label values (cases) {present}\n" in printed


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
    assert "without label, in a section of their own: BraTS20_Training_006" in printed
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


def test_ixi_is_read_split_by_age_and_sex_and_summarised(tmp_path, capsys):
    ixi(str(tmp_path), cases=14, seed=1, spacing=16.0)  # 12 with image, row and age
    prepare("ixi", str(tmp_path), testing=0.25, validation=0.25)
    content = json.loads((tmp_path / "datalist.json").read_text())
    assert [len(content[s]) for s in ("training", "validation", "testing")] == [6, 3, 3]
    items = [item for s in ("training", "validation", "testing") for item in content[s]]
    assert all((tmp_path / item[key]).is_file() for item in items for key in ("image", "label"))
    assert all(20 <= item["age"] <= 85 and item["sex"] in "FM" and "notes" not in item for item in items)
    printed = capsys.readouterr().out
    assert "15 cases of 15 subjects: 12 good, 2 without age, 1 with problems" in printed
    ages, women = [i["age"] for i in content["training"]], sum(i["sex"] == "F" for i in content["training"])
    about = f"age {np.mean(ages):.1f} +- {np.std(ages):.1f} ({min(ages):.1f} to {max(ages):.1f}), {women} F, {6 - women} M"
    assert f"training: 6 cases of 6 subjects, {about}, 6 with label map" in printed
    noted = [line for line in printed.splitlines() if line.startswith(("NOTE", "PROBLEM"))]
    assert [re.sub(r".*: |\S*(IXI.xls)", r"\1", line) for line in noted] == [
        "repeats IXI.xls row 3",
        "no row in IXI.xls",
        "no age",
        f"no image of {noted[-1].split()[-1]}",
    ]


def test_each_subject_is_tested_in_one_fold(tmp_path):
    brats(str(tmp_path), cases=7, spacing=8.0)
    prepare("brats", str(tmp_path), str(tmp_path / "list.json"), folds=3)
    assert not (tmp_path / "list_fold4.json").exists()
    tested = []
    for fold in (1, 2, 3):
        content = json.loads((tmp_path / f"list_fold{fold}.json").read_text())
        parts = [{item["subject"] for item in content[s]} for s in ("training", "validation", "testing")]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 7 and len(parts[1]) == 1
        tested += parts[2]
    assert sorted(tested) == [f"BraTS20_Training_{i:03d}" for i in range(1, 8)]
    assert len(json.loads((tmp_path / "list.json").read_text())["testing"]) == 1


def test_an_unknown_dataset_lists_those_there_are(tmp_path):
    with pytest.raises(
        ValueError, match="'brast' is none of brats, chaos, hannover, heads, ixi, mimic_cxr, mrbrains, nih, rsna"
    ):
        prepare("brast", str(tmp_path))
