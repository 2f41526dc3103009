"""MRBrainS as a dataset, its synthetic twin, and the baseline of intensities alone."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from tools.baselines.tissues import brain_mask, mixture, score
from tools.datasets.mrbrains import check, read
from tools.phantoms.ixi import ixi
from tools.phantoms.mrbrains import mrbrains
from tools.prepare import prepare


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mrbrains")
    mrbrains(str(folder), cases=6, seed=2, spacing=(4.0, 4.0, 6.0))
    return folder


def data(folder, name):
    return np.asarray(nib.load(folder / f"{name}.nii").dataobj)


def test_layout_labels_and_contrasts_are_those_of_the_release(release):
    assert sorted(p.name for p in (release / "TrainingData").iterdir()) == ["1", "2", "3", "4", "5"]
    sequences = ("T1", "T1_IR", "T2_FLAIR")
    assert sorted(p.stem for p in (release / "TestData" / "1").iterdir()) == sorted(sequences)
    case = release / "TrainingData" / "1"
    fine, three = data(case, "LabelsForTraining"), data(case, "LabelsForTesting")
    assert set(np.unique(fine)) == set(range(9)) and set(np.unique(three)) == {0, 1, 2, 3}
    for number, parts in {0: (0, 7, 8), 1: (5, 6), 2: (1, 2), 3: (3, 4)}.items():
        np.testing.assert_array_equal(three == number, np.isin(fine, parts))
    t1, ir, flair = (data(case, name).astype(float) for name in sequences)
    grey, white, ventricle, lesion = (fine == v for v in (1, 3, 6, 4))
    assert np.median(t1[white]) > 1.2 * np.median(t1[grey]) > 1.3 * np.median(t1[ventricle])
    assert np.median(ir[white]) > 1.5 * np.median(ir[grey])
    assert np.median(flair[lesion]) > np.median(flair[grey]) > np.median(flair[white]) > 2 * np.median(flair[ventricle])
    assert t1.dtype and nib.load(case / "T1.nii").header.get_zooms() == (4, 4, 6)
    with pytest.raises(FileExistsError, match="exists already"):
        mrbrains(str(release), cases=1, spacing=(4.0, 4.0, 6.0))


def test_cases_are_read_with_the_better_label_map_and_what_they_lack(release, tmp_path):
    shutil.copytree(release, tmp_path / "copy")
    training = tmp_path / "copy" / "TrainingData"
    (training / "2" / "LabelsForTraining.nii").unlink()
    (training / "3" / "T1_IR.nii").unlink()
    (training / "4" / "T1.nii").write_text("no image")
    image = nib.load(training / "5" / "LabelsForTraining.nii")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + np.uint8(3), image.affine), training / "5" / "LabelsForTraining.nii")
    cases = {item["case"]: item for item in read(str(tmp_path / "copy"))}
    assert sorted(cases) == ["TestData_1", *(f"TrainingData_{n}" for n in range(1, 6))]
    assert cases["TrainingData_1"]["convention"] == "mrbrains_training"
    assert cases["TrainingData_2"]["convention"] == "mrbrains_testing"
    assert cases["TrainingData_3"]["channels"] == ["t1", "flair"]
    assert "label" not in cases["TestData_1"]
    assert check(cases["TrainingData_1"])[0] == []
    assert "T1.nii: not a readable NIfTI image" in check(cases["TrainingData_4"])[0][0]
    (problem,) = check(cases["TrainingData_5"])[0]
    assert "label values ['9', '10', '11'], expected (0, 1, 2, 3, 4, 5, 6, 7, 8) (mrbrains_training)" in problem
    prepare("mrbrains", str(tmp_path / "copy"), folds=3, validation=0)
    fold = json.loads((tmp_path / "copy" / "datalist_fold1.json").read_text())
    assert len(fold["training"]) == 2 and fold["testing"][0]["image"][0].startswith("TrainingData")


def test_mixture_finds_the_borders_between_gaussians():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(mean, 0.05, 20_000) for mean in (0.3, 0.7, 1.0)])
    low, high = mixture(values)
    assert low == pytest.approx(0.5, abs=0.05) and high == pytest.approx(0.85, abs=0.03)


def test_brain_mask_leaves_skull_and_scalp_out():
    x, y, z = np.ogrid[-40:40, -40:40, -40:40]
    radius = np.sqrt(x**2 + y**2 + z**2) * 2.5  # mm
    head = np.select([radius < 65, radius < 72, radius < 85], [1.0, 0.1, 0.9], 0.0).astype(np.float32)
    head[40, 40, 40:] = np.where(head[40, 40, 40:] > 0, 1, 0)  # a vessel through the skull is no bridge
    mask = brain_mask(head, np.full(3, 2.5))
    assert mask[radius < 60].all() and not mask[radius > 72].any()


def test_baseline_is_scored_in_both_masks(tmp_path, capsys):
    ixi(str(tmp_path), cases=3, seed=3, spacing=4.0)
    prepare("heads", str(tmp_path), validation=0.3, testing=0.3)
    score(str(tmp_path), str(tmp_path / "datalist.json"))
    text = capsys.readouterr().out
    assert "own brain mask, 1 heads" in text and "mask of the labels, 1 heads" in text
    values = [float(line.split("|")[2]) for line in text.splitlines() if line.startswith("| dice_WM")]
    assert values[1] > 0.7 and values[1] > values[0]
