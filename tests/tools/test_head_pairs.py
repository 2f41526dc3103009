"""Synthetic pairs with a known deformation, and a folder of heads without a table."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import run

from shared.handlers.case_table import read_rows
from shared.registration.itk import load_affine
from tools.phantoms.head_pairs import draw_deformation, head_pairs
from tools.prepare import prepare

from ..conftest import config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs")
    head_pairs(str(path), cases=2, seed=5, spacing=4.0)
    return path


def marks(path):
    with path.open() as file:
        return np.array([[float(row[a]) for a in "xyz"] for row in csv.DictReader(file)])


def test_landmarks_lie_at_the_same_anatomy(folder):
    """Both heads show the same label at corresponding points, but for those within a voxel of a boundary."""
    found = []
    for name in ("moving", "fixed"):
        image = nib.load(folder / name / "pair001_seg.nii.gz")
        points = marks(folder / name / "pair001_points.csv")
        index = np.rint(nib.affines.apply_affine(np.linalg.inv(image.affine), points)).astype(int)
        found.append(np.asarray(image.dataobj)[tuple(index.T)])
    assert (found[0] == found[1]).mean() > 0.6 and (found[0] > 0).all()
    distance = np.linalg.norm(
        marks(folder / "moving" / "pair001_points.csv") - marks(folder / "fixed" / "pair001_points.csv"), axis=1
    )
    assert 3 < distance.mean() < 40


def test_deformations_do_not_fold():
    for seed in range(5):
        move = draw_deformation(np.random.default_rng(seed), 6.0)
        points = np.random.default_rng(1).uniform(-90, 90, (500, 3))
        columns = [(move(points + step) - move(points - step)) / 0.2 for step in 0.1 * np.eye(3)]
        assert np.linalg.det(np.stack(columns, -1)).min() > 0.1


def test_the_command_brings_landmarks_nearer(folder, tmp_path):
    """In mm, with the shipped weights: after the affine stage alone landmarks are some mm off at most."""
    options = {"pairs": str(folder / "pairs.csv"), "pictures": False, "device": "cpu"}
    run(config_file=config("inference", "brain_registration"), dataset_dir=str(folder), output_dir=str(tmp_path), **options)
    for case in ("pair001", "pair002"):
        start, truth, found = (marks(p / f"{case}_points.csv") for p in (folder / "moving", folder / "fixed", tmp_path))
        before, after = (np.linalg.norm(points - truth, axis=1).mean() for points in (start, found))
        assert after < 5 and after < before / 2
        row = read_rows(tmp_path / "registrations.csv")[case]
        assert float(row["landmarks_mm"]) == pytest.approx(after, abs=1e-3)
        assert float(row["landmarks_mm_identity"]) == pytest.approx(before, abs=1e-3)
        homogeneous = np.c_[start, np.ones(len(start))].T
        affine = (np.linalg.inv(load_affine(tmp_path / f"{case}_affine.txt")) @ homogeneous)[:3].T
        error = np.linalg.norm(affine - truth, axis=1).mean()
        assert float(row["landmarks_mm_affine"]) == pytest.approx(error, abs=1e-3)


def test_it_overwrites_nothing(folder):
    with pytest.raises(FileExistsError, match="pair001_T1.nii.gz exists already"):
        head_pairs(str(folder), cases=1, seed=5, spacing=4.0)


def test_prepare_takes_a_folder_of_heads(folder, tmp_path, capsys):
    prepare("heads", str(folder / "moving"), output=str(tmp_path / "list.json"), validation=0, testing=0.5)
    content = json.loads((tmp_path / "list.json").read_text())
    assert [item["case"] for item in content["training"] + content["testing"]] in (
        ["pair001", "pair002"],
        ["pair002", "pair001"],
    )
    assert content["training"][0]["label"].endswith("_seg.nii.gz")
    assert "1 with label map" in capsys.readouterr().out
