"""Small folders in the layouts that exist, with what goes wrong in them."""

import os
import re

import nibabel as nib
import numpy as np
import pytest

from shared.errors import InputError
from tools.datasets.ixi import check, describe, read, strata
from tools.phantoms.ixi import ixi

HEADER = '"IXI_ID","SEX_ID (1=m, 2=f)",HEIGHT,DOB,AGE'


def save(path, shape=(4, 5, 6), affine=None, value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.arange(np.prod(shape)).reshape(shape) if value is None else np.full(shape, value)
    nib.save(nib.Nifti1Image(data.astype(np.float32), np.diag([2, 2, 2, 1]) if affine is None else affine), path)
    return str(path)


def release(root, rows, cases, header=HEADER):
    """IXI.csv with these rows, and an image for each of these cases."""
    for case in cases:
        save(root / "IXI-T1" / f"{case}-T1.nii.gz")
    (root / "IXI.csv").write_text("\n".join([header, *rows]) + "\n")
    return {item["case"]: item for item in read(str(root))}


def test_the_release_is_read_with_its_labels(tmp_path):
    t2 = save(tmp_path / "IXI-T2" / "IXI002-Guys-0828-T2.nii.gz")
    label = save(tmp_path / "IXI-labels" / "IXI002-Guys-0828-labels.nii.gz", value=1)
    cases = release(tmp_path, ["2,2,164,1970-01-01,35.8", "25,1,170,,120"], ["IXI002-Guys-0828", "IXI025-IOP-0852"])
    assert cases["IXI002-Guys-0828"] == {
        "case": "IXI002-Guys-0828",
        "subject": "IXI002",
        "image": str(tmp_path / "IXI-T1" / "IXI002-Guys-0828-T1.nii.gz"),
        "age": 35.8,
        "sex": "F",
        "site": "Guys",
        "label": label,
        "files": {"t1": str(tmp_path / "IXI-T1" / "IXI002-Guys-0828-T1.nii.gz"), "t2": t2},
        "notes": [f"{tmp_path / 'IXI-T1' / 'IXI002-Guys-0828-T1.nii.gz'}: no PD"],
    }
    assert cases["IXI025-IOP-0852"]["sex"] == "M" and cases["IXI025-IOP-0852"]["site"] == "IOP"
    assert all(check(item)[0] == [] for item in cases.values())


def test_t2_and_pd_are_paired_checked_and_counted(tmp_path):
    ixi(str(tmp_path), cases=3, seed=2, spacing=12.0, others=True)
    cases = read(str(tmp_path))
    for item in cases:
        name = item["case"]
        assert item["files"] == {s.lower(): str(tmp_path / f"IXI-{s}" / f"{name}-{s}.nii.gz") for s in ("T1", "T2", "PD")}
        assert item["image"] == item["files"]["t1"] and not item["notes"]
    found = [check(item) for item in cases]
    assert "3 with T2 and PD" in describe(cases, [counts for _, counts in found])
    (tmp_path / "IXI-PD" / f"{cases[1]['case']}-PD.nii.gz").write_text("no image")
    assert f"{cases[1]['case']}-PD.nii.gz: not a readable" in check(cases[1])[0][0]
    save(tmp_path / "again" / f"{cases[0]['case']}-T2.nii.gz")
    again = read(str(tmp_path))[0]
    assert set(again["files"]) == {"t1", "pd"} and "T2 not used, as there is more than one" in again["notes"][0]


def test_gaps_of_the_table_are_told(tmp_path):
    rows = [
        "2,1,,,30",
        "2,1,,,30",
        "3,1,,,30",
        "3,1,,,31",
        "4,,,,",
        "5,3,,,40",
        "6,1,,,sixty",
        "7,1,,,-2",
        ",1,,,20",
        "99,1,,,20",
    ]
    cases = release(tmp_path, rows, [f"IXI00{i}-HH-1{i}00" for i in range(2, 9)])
    table = tmp_path / "IXI.csv"
    notes = {case: item.get("notes") for case, item in cases.items() if item.get("notes")}
    assert notes == {
        "IXI002-HH-1200": [f"{table} row 3: repeats {table} row 2"],
        "IXI004-HH-1400": [f"{table} row 6: no age and no sex"],
        "IXI005-HH-1500": [f"{table} row 7: sex is '3', expected M, F, male, female, 1 (male) or 2 (female)"],
        "IXI008-HH-1800": [f"{tmp_path / 'IXI-T1' / 'IXI008-HH-1800-T1.nii.gz'}: no row in {table}"],
    }
    problems = {case: item["problem"] for case, item in cases.items() if "problem" in item}
    assert problems == {
        "IXI003-HH-1300": f"contradiction: {table} row 4 says id 3, age 30, sex 1; {table} row 5 says id 3, age 31, sex 1",
        "IXI006-HH-1600": f"{table} row 8: age is 'sixty', expected a number of years",
        "IXI007-HH-1700": f"{table} row 9: age is -2, expected 0 to 120 years",
        "IXI.csv row 10": f"{table} row 10: no id",
        "IXI099": f"{table} row 11: no image of IXI099",
    }
    assert [case for case, item in cases.items() if "age" not in item and "problem" not in item] == [
        "IXI004-HH-1400",
        "IXI008-HH-1800",
    ]
    assert cases["IXI005-HH-1500"]["age"] == 40 and cases["IXI005-HH-1500"]["sex"] is None
    assert all(check(item)[0] == [text] for case, text in problems.items() for item in [cases[case]])


def test_two_scans_of_a_person_are_two_cases_and_two_files_of_a_name_a_problem(tmp_path):
    save(tmp_path / "copy" / "IXI004-HH-1400-T1.nii.gz")
    cases = release(tmp_path, ["3,1,,,30", "4,1,,,30"], ["IXI003-HH-1300", "IXI003-HH-1301", "IXI004-HH-1400"])
    assert {c: i["subject"] for c, i in cases.items() if "problem" not in i} == {
        "IXI003-HH-1300": "IXI003",
        "IXI003-HH-1301": "IXI003",
    }
    assert "2 images are called IXI004-HH-1400" in cases["IXI004-HH-1400"]["problem"]


def test_an_age_in_a_row_with_too_many_cells_is_not_believed(tmp_path):
    cases = release(tmp_path, ["2,1,170,,35,8"], ["IXI002-HH-1200"])
    assert "6 cells, expected 5" in cases["IXI002-HH-1200"]["problem"]


def test_a_participants_table_that_names_files(tmp_path):
    first = save(tmp_path / "t1" / "a.nii.gz")
    second = save(tmp_path / "t1" / "b_T1.nii.gz")
    save(tmp_path / "t1" / "c_T1.nii.gz")
    save(tmp_path / "maps" / "a.nii.gz", value=3)
    (tmp_path / "participants.csv").write_text(
        "Subject,T1,DLMUSE,Age,Sex\nIXI012-HH-1211,t1/a.nii.gz,maps/a.nii.gz,038Y,male\n"
        'x,t1/b_T1.nii.gz,maps/b.nii.gz,"38,5",F\ny,t1/d.nii.gz,,40,F\nz,,,40,F\nv,t1/e.nii.gz,,1,F\nw,t1/e.nii.gz,,1,F\n'
    )
    cases = {item["case"]: item for item in read(str(tmp_path))}
    item = cases["IXI012-HH-1211"]
    assert (item["subject"], item["site"], item["image"], item["age"], item["sex"]) == ("IXI012", "HH", first, 38, "M")
    assert item["label"] == str(tmp_path / "maps" / "a.nii.gz")
    assert cases["x"]["image"] == second and cases["x"]["age"] == 38.5 and "site" not in cases["x"]
    assert cases["x"]["notes"] == [f"{tmp_path / 'participants.csv'} row 3: no such file {tmp_path / 'maps' / 'b.nii.gz'}"]
    assert f"no such file {tmp_path / 't1' / 'd.nii.gz'}" in cases["y"]["problem"]
    assert cases["z"]["problem"].endswith("row 5: no image of z is named")
    assert "no row in" in cases["c"]["notes"][0]
    for case in "vw":  # would be in two sections of a split
        assert "several rows of" in cases[case]["problem"] or "no such file" in cases[case]["problem"]


def test_one_image_in_two_rows_is_left_out(tmp_path):
    save(tmp_path / "a.nii.gz")
    (tmp_path / "participants.csv").write_text("id,image,age,sex\nv,a.nii.gz,30,F\nw,a.nii.gz,30,F\n")
    assert all("several rows" in item["problem"] for item in read(str(tmp_path)))


def test_bids_without_a_column_of_files(tmp_path):
    save(tmp_path / "sub-01" / "ses-1" / "anat" / "sub-01_ses-1_T1w.nii.gz")
    save(tmp_path / "sub-01" / "ses-2" / "anat" / "sub-01_ses-2_T1w.nii.gz")
    save(tmp_path / "sub-02" / "anat" / "sub-02_T1w.nii.gz")
    save(tmp_path / "sub-02" / "anat" / "sub-02_T2w.nii.gz")
    save(tmp_path / "derivatives" / "prep" / "sub-02" / "anat" / "sub-02_space-MNI_T1w.nii.gz")
    label = save(tmp_path / "derivatives" / "prep" / "sub-02" / "anat" / "sub-02_dlmuse.nii.gz", value=3)
    (tmp_path / "participants.tsv").write_text("participant_id\tage\tgender\nsub-01\t30\tM\n02\t31\tn/a\n")
    cases = {item["case"]: item for item in read(str(tmp_path))}
    assert {case: (item["subject"], item["age"], item["sex"]) for case, item in cases.items()} == {
        "sub-01_ses-1": ("sub-01", 30, "M"),
        "sub-01_ses-2": ("sub-01", 30, "M"),
        "sub-02": ("sub-02", 31, None),
    }
    assert cases["sub-02"]["label"] == label and check(cases["sub-02"]) == ([], {3: 120})


def test_the_phantom_is_read_whole(tmp_path):
    ixi(str(tmp_path), cases=8, spacing=20.0)
    cases = read(str(tmp_path))
    assert len(cases) == 9 and [len(list(filter(lambda i, k=k: k in i, cases))) for k in ("image", "age", "label")] == [8, 6, 8]
    os.rename(tmp_path / "IXI.xls", tmp_path / "other.xls")
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: no table of ages, expected IXI.xls, ")):
        read(str(tmp_path))


def test_damaged_images_are_refused_by_name(tmp_path):
    def problem(name, label=None, **kwargs):
        item = {"case": "c", "image": save(tmp_path / f"{name}.nii.gz", **kwargs)}
        return "".join(check(item | ({"label": label} if label else {}))[0])

    cut = save(tmp_path / "cut.nii.gz", shape=(9, 9, 9))
    with open(cut, "r+b") as file:
        file.truncate(400)
    half = save(tmp_path / "half.nii.gz", value=0.5)
    moved = save(tmp_path / "moved.nii.gz", value=1, affine=np.eye(4))
    assert problem("good") == "" and problem("single", shape=(4, 5, 6, 1)) == ""
    assert f"{cut}: not a readable NIfTI image" in check({"case": "c", "image": cut})[0][0]
    assert f"{tmp_path / 'series.nii.gz'}: expected a 3D image, found shape" in problem("series", shape=(4, 5, 6, 2))
    assert "expected a 3D image, found shape (4, 5, 1)" in problem("slice", shape=(4, 5, 1))
    assert "voxels are NaN or infinite" in problem("nan", value=np.nan)
    assert "all voxels are zero" in problem("zero", value=0)
    assert f"{half}: expected a label map of whole numbers, found 0.5" in problem("good", label=half)
    assert f"{moved}: affine differs" in problem("good", label=moved)


def test_groups_are_fifths_of_the_ages_by_sex():
    cases = [{"age": 20 + i, "sex": "FM"[i % 2]} for i in range(50)]
    groups = strata(cases)
    assert [groups.count((fifth, sex)) for fifth in range(5) for sex in "FM"] == [5] * 10
    assert groups[0] == (0, "F") and groups[49] == (4, "M")
    text = describe([*cases[:2], {"age": 62.0, "sex": None}], [{}, {1: 5}, {}])
    assert text == "age 34.3 +- 19.6 (20.0 to 62.0), 1 F, 1 M, 1 sex unknown, 1 with label map"
