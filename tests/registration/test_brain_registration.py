"""The bundle's training and scoring, as its commands run them."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import run

from shared.handlers.case_table import read_rows

from ..conftest import config
from .conftest import BUNDLE, FLAT, NETWORK, infer, training, write_pairs


def test_training_logs_saves_and_goes_on_exactly(heads, small, tmp_path):
    for name, parts in {"straight": [2], "broken": [1, 2]}.items():
        for epochs in parts:
            options = {"max_epochs": epochs, "resume": epochs != parts[0], "lr_scheduler::T_max": 2}
            run(config_file=config("train", BUNDLE), **training(small, heads, tmp_path / name, **options))
    straight, broken = (torch.load(tmp_path / n / "last.pt", weights_only=True) for n in ("straight", "broken"))
    assert straight["epoch"] == broken["epoch"] == 2
    for key, value in straight["network"].items():
        assert torch.equal(value, broken["network"][key]), key
    rows = read_rows(tmp_path / "straight" / "validation.csv")
    assert rows and all(float(row["dice"]) > 0 for row in rows.values())
    assert all(name.split("_to_")[0] != name.split("_to_")[1] for name in rows)
    assert list((tmp_path / "straight" / "pictures").glob("*.png"))
    curves = [list(csv.DictReader((tmp_path / name / "training.csv").open())) for name in ("straight", "broken")]
    assert curves[0] == curves[1] and [row["epoch"] for row in curves[0]] == ["1", "2"]
    assert float(curves[0][-1]["dice"]) == pytest.approx(np.mean([float(row["dice"]) for row in rows.values()]), abs=1e-4)
    assert (tmp_path / "straight" / "training.png").stat().st_size > 5000


@pytest.mark.parametrize(
    "options",
    [
        {"similarity": "mse", "smoothness": 0.02, "label_weight": 0, "integration_steps": 0},
        {"pairing": "atlas", "affine": "rigid", "cache": "none"},
    ],
)
def test_the_named_choices_train(heads, small, tmp_path, options):
    run(config_file=config("train", BUNDLE), **training(small, heads, tmp_path, max_epochs=1, **options))
    assert (tmp_path / "model.pt").is_file()


def test_the_anatomy_is_trained_and_taken_over(heads, small, tmp_path):
    settings = {**training(small, heads, tmp_path / "r", max_epochs=2), "finetune": None}
    run(config_file=[config("train", BUNDLE), config("train_regions", BUNDLE)], **settings)
    settings = {**training(small, heads, tmp_path / "t", max_epochs=1), "finetune": str(tmp_path / "r" / "model.pt")}
    run(config_file=config("train", BUNDLE), **settings)
    start, regions, whole = (
        torch.load(path, weights_only=True)
        for path in (small["checkpoint"], tmp_path / "r" / "model.pt", tmp_path / "t" / "model.pt")
    )
    for key in whole:
        kept = torch.equal(whole[key], regions[key])
        assert kept == key.startswith("anatomy") or "bias" in key, key
    assert any(not torch.equal(start[key], regions[key]) for key in start if key.startswith("anatomy"))


@pytest.mark.parametrize("overlay", ["slices", "voxelmorph"])
def test_overlays_with_other_networks_train_and_are_scored(heads, small, tmp_path, overlay):
    own = FLAT if overlay == "slices" else {"network_def::backbone::channels": [4, 4, 4, 4]}
    settings = training(small, heads, tmp_path / "t", max_epochs=1, **{"train::dataset::cache": "none"})
    settings = {key: value for key, value in settings.items() if key not in (*NETWORK, "finetune")} | own
    settings |= {"slice": 16} if overlay == "slices" else {}
    run(config_file=[config("train", BUNDLE), config(overlay, BUNDLE)], **settings)
    state = torch.load(tmp_path / "t" / "model.pt", weights_only=True)
    assert not any(key.startswith("anatomy") for key in state)
    assert {value.ndim for value in state.values()} & {4, 5} == {4 if overlay == "slices" else 5}
    rows = read_rows(tmp_path / "t" / "validation.csv")
    assert all(0 < float(row["dice"]) < 1 for row in rows.values())


@pytest.mark.parametrize("overlays", [["any_contrast"], ["train_regions", "any_contrast"]])
def test_any_contrast_trains(heads, small, tmp_path, overlays):
    settings = training(small, heads, tmp_path, max_epochs=1)
    run(config_file=[config(name, BUNDLE) for name in ("train", *overlays)], **settings)
    start, trained = (torch.load(path, weights_only=True) for path in (small["checkpoint"], tmp_path / "model.pt"))
    changed = {key.split(".")[0] for key in trained if not torch.equal(trained[key], start[key])}
    assert changed == {"anatomy" if len(overlays) == 2 else "backbone"}


def test_an_atlas_is_averaged_and_learned(heads, small, tmp_path):
    settings = {key: value for key, value in training(small, heads, tmp_path / "a").items() if key not in ("checkpoint",)}
    run(config_file=[config("train", BUNDLE), config("average", BUNDLE)], **settings, grid_size=[32, 32, 32])
    average = nib.load(tmp_path / "a" / "atlas.nii.gz")
    assert average.shape == (32, 32, 32) and nib.aff2axcodes(average.affine) == ("R", "A", "S")
    settings |= {"output_dir": str(tmp_path / "b"), "max_epochs": 2, "learning_rate": 0.01, **FLAT}
    settings = {key: value for key, value in settings.items() if "anatomy" not in key}
    run(config_file=[config("train", BUNDLE), config("atlas", BUNDLE)], **settings)
    learned, grid = nib.load(tmp_path / "b" / "atlas.nii.gz"), nib.load(small["atlas"])
    np.testing.assert_allclose(learned.affine, grid.affine, atol=1e-4)
    assert learned.shape == grid.shape and learned.get_fdata().std() > 0.1
    assert (tmp_path / "b" / "atlas.png").stat().st_size > 10_000


def test_evaluation_tells_what_inference_tells(heads, small, tmp_path):
    settings = {**training(small, heads, tmp_path / "e"), "checkpoint": small["checkpoint"]}
    run(config_file=[config("train", BUNDLE), config("evaluate", BUNDLE)], **settings)
    (case, row), *_ = read_rows(tmp_path / "e" / "per_case.csv").items()
    moving, fixed = (
        {i["case"]: i for i in json.loads((heads / "datalist.json").read_text())["testing"]}[n] for n in case.split("_to_")
    )
    pairs = write_pairs(
        tmp_path / "p.csv",
        {
            "moving": moving["image"],
            "fixed": fixed["image"],
            "label": moving["label"],
            "fixed_label": fixed["label"],
            "case": case,
        },
    )
    (inferred,) = infer(small, heads, tmp_path / "o", pairs=pairs, pictures=False).values()
    for key, value in row.items():
        if key != "case":
            assert inferred[key] == value or float(inferred[key]) == pytest.approx(float(value), abs=1e-4), key
    # and by hand from the files
    moved = np.asarray(nib.load(tmp_path / "o" / f"{case}_moved_label.nii.gz").dataobj)
    truth = np.asarray(nib.load(heads / fixed["label"]).dataobj)
    a, b = np.isin(moved, [51, 52]), np.isin(truth, [51, 52])
    assert float(inferred["dice_lateral_ventricle"]) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=1e-4)
