import nibabel as nib
import numpy as np
import pytest

from shared.data import find_cases
from shared.errors import InputError

SEQUENCES = {"t1ce": ["t1ce", "t1c", "t1post"], "t1": ["t1", "t1n"], "t2": ["t2", "t2w"], "flair": ["flair", "t2f"]}


def touch(folder, *names, shape=(2, 2, 2)):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        nib.save(nib.Nifti1Image(np.ones(shape, np.int16), np.eye(4)), folder / name)


def test_brats_2020_2023_and_bare_names_are_found_in_channel_order(tmp_path):
    touch(tmp_path / "a", *(f"BraTS20_Training_001_{s}.nii" for s in ("flair", "t1", "t1ce", "t2", "seg")))
    touch(tmp_path / "b", *(f"BraTS-GLI-00007-000-{s}.nii.gz" for s in ("t1n", "t1c", "t2W", "t2f")))
    touch(tmp_path / "patient07", "T1.nii.gz", "T2.nii.gz", "FLAIR.nii.gz", "T1POST.nii.gz", "LESION.nii.gz")
    cases = {c["case"]: c for c in find_cases(tmp_path, SEQUENCES, label=["seg"])}
    assert sorted(cases) == ["BraTS-GLI-00007-000", "BraTS20_Training_001", "patient07"]
    assert [p.rsplit("/", 1)[1] for p in cases["patient07"]["image"]] == [
        "T1POST.nii.gz",
        "T1.nii.gz",
        "T2.nii.gz",
        "FLAIR.nii.gz",
    ]
    assert cases["BraTS20_Training_001"]["label"].endswith("_seg.nii")
    assert not any("problem" in c for c in cases.values())


def test_flat_folder_with_several_people(tmp_path):
    touch(tmp_path, *(f"P{i}_{s}.nii.gz" for i in (1, 2) for s in ("t1", "t1ce", "t2", "flair")))
    assert [c["case"] for c in find_cases(tmp_path, SEQUENCES)] == ["P1", "P2"]


def test_equal_names_in_two_folders_get_different_case_names(tmp_path):
    for folder in ("site1/p1", "site2/p1"):
        touch(tmp_path / folder, "t1.nii", "t1ce.nii", "t2.nii", "flair.nii")
    assert [c["case"] for c in find_cases(tmp_path, SEQUENCES)] == ["site1_p1", "site2_p1"]


def test_a_missing_sequence_is_a_problem_that_names_the_folder_and_the_expected_ending(tmp_path):
    touch(tmp_path / "p", "t1.nii", "t1ce.nii", "flair.nii")
    (case,) = find_cases(tmp_path, SEQUENCES)
    assert "p: missing sequence, expected t2: a name that ends in t2 or t2w" in case["problem"]
    assert "found flair.nii, t1.nii, t1ce.nii" in case["problem"]


def test_a_sequence_that_is_there_twice_is_a_problem(tmp_path):
    touch(tmp_path / "p", "t1.nii", "t1.nii.gz", "t1ce.nii", "t2.nii", "flair.nii")
    assert "more than one t1: t1.nii, t1.nii.gz" in find_cases(tmp_path, SEQUENCES)[0]["problem"]


def test_4d_files_are_cases_and_3d_files_of_other_names_are_not(tmp_path):
    touch(tmp_path, "BRATS_001.nii.gz", shape=(2, 2, 2, 4))
    touch(tmp_path, "BRATS_001_seg.nii.gz", "atlas.nii.gz")
    (case,) = find_cases(tmp_path, SEQUENCES, channels_4d=["flair", "t1", "t1ce", "t2"])
    assert case["case"] == "BRATS_001" and case["channels"] == ["flair", "t1", "t1ce", "t2"]


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match="no case below .*t1ce: t1ce, t1c, t1post"):
        find_cases(tmp_path, SEQUENCES)


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(InputError, match="dataset_dir is 'nowhere'"):
        find_cases("nowhere", SEQUENCES)


def test_the_files_of_a_case_may_lie_apart(tmp_path):
    for name in ("T1", "T2"):
        touch(tmp_path / f"IXI-{name}", f"IXI002-{name}.nii.gz", f"IXI012-{name}.nii.gz")
    (tmp_path / "IXI-T2" / "IXI012-T2.nii.gz").unlink()
    sequences = {"t2": ["t2"], "t1": ["t1"]}
    cases = find_cases(tmp_path, sequences, apart=True)
    assert cases[0] == {"case": "IXI002", "image": [str(tmp_path / f"IXI-{n}" / f"IXI002-{n}.nii.gz") for n in ("T2", "T1")]}
    assert "IXI-T1: missing sequence, expected t2" in cases[1]["problem"]
    assert all("problem" in case for case in find_cases(tmp_path, sequences))
    touch(tmp_path / "P7", "T1.nii", "T2.nii")  # the folder is the name
    assert [case["case"] for case in find_cases(tmp_path, sequences, apart=True)] == ["IXI002", "IXI012", "P7"]


def test_of_a_single_sequence_any_file_will_do_where_no_name_tells(tmp_path):
    touch(tmp_path, "a.nii.gz", "b_t2.nii.gz")
    assert [case["case"] for case in find_cases(tmp_path, {"t1": ["t1"]})] == ["a", "b_t2"]
    assert [case["case"] for case in find_cases(tmp_path, {"t2": ["t2"]})] == ["b"]


@pytest.mark.parametrize(
    ("partial", "missing"),
    [([], "t1:"), ("t1ce", "t1:"), ([*SEQUENCES], None), (["t1", "flair"], None), (["flair"], "t1:"), (["t1"], "flair:")],
)
def test_only_the_sequences_that_are_named_may_be_missing(tmp_path, partial, missing):
    touch(tmp_path, "P1_t1ce.nii", "P1_t2.nii")
    (case,) = find_cases(tmp_path, SEQUENCES, partial=partial)
    if missing:
        assert f"missing sequence, expected {missing}" in case["problem"] and "channels" not in case
    else:
        assert case["channels"] == ["t1ce", "t2"] and "problem" not in case
    with pytest.raises(InputError, match="expected some of the sequences t1ce, t1, t2, flair"):
        find_cases(tmp_path, SEQUENCES, partial=["T1"])
