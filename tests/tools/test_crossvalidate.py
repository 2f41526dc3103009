"""Folds are trained and scored one by one, pooled, and not trained twice; a baseline is scored on the same folds."""

import json

import monai.bundle
import pytest

from shared.handlers.case_table import read_rows
from tools import bundles
from tools.baseline import baseline
from tools.crossvalidate import crossvalidate
from tools.phantoms.ixi import ixi
from tools.prepare import prepare

from ..conftest import SMALL_HEADS

SMALL = {**SMALL_HEADS, "max_epochs": 1}


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ixi")
    ixi(str(folder), cases=10, seed=5, spacing=4.0)
    prepare("ixi", str(folder), folds=2, validation=0, testing=0)
    return folder


def test_every_subject_is_scored_once_by_a_network_that_never_saw_it(heads, tmp_path, monkeypatch, capsys):
    runs = []

    def run(name, *configs, **options):  # as tools.bundles.run, without a process for each
        runs.append((configs, options))
        files = [str(bundles.folder(name) / "configs" / f"{config}.yaml") for config in configs]
        monai.bundle.run(config_file=files, **options)

    monkeypatch.setattr(bundles, "run", run)
    for _ in range(2):
        crossvalidate("ixi_age_regression", str(heads), first="train_regions", output_dir=str(tmp_path), **SMALL)
    trainings = [configs for configs, _ in runs if "evaluate" not in configs]
    assert trainings == [("train", "train_regions"), ("train",)] * 2  # the second time all were finished
    assert [options["finetune"] for configs, options in runs if configs == ("train",)] == [
        str(tmp_path / f"fold{i}" / "first" / "model.pt") for i in (1, 2)
    ]
    folds = [json.loads((heads / f"datalist_fold{i}.json").read_text()) for i in (1, 2)]
    everybody = [item["case"] for fold in folds for item in fold["testing"]]
    assert sorted(everybody) == list(read_rows(tmp_path / "per_case.csv")) and len(set(everybody)) == len(everybody)
    for fold in folds:
        assert not {i["subject"] for i in fold["training"]} & {i["subject"] for i in fold["testing"]}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["scores"]["age_mae"]["n"] == len(everybody) and summary["scores"]["age_mae"]["ci95"]
    assert (tmp_path / "age.png").stat().st_size
    assert "| age_mae |" in capsys.readouterr().out


def test_without_folds_it_says_how_to_make_them(tmp_path):
    with pytest.raises(ValueError, match="no datalist_fold1.json beside .*prepare ... --folds 5"):
        crossvalidate("ixi_age_regression", str(tmp_path))
    with pytest.raises(ValueError, match="needs --data"):
        crossvalidate("ixi_age_regression", str(tmp_path), write=True)


def test_volumes_tell_the_ages_of_synthetic_heads(heads, capsys):
    baseline("ixi_volumes", str(heads))
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| age_mae |"))
    assert 0 < float(row.split("|")[2]) < 25
    with pytest.raises(ValueError, match="'ridge' is none of ixi_volumes"):
        baseline("ridge", str(heads))
