"""`--tracking mlflow`: MLflow sees the options, losses, scores and files of a run."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from monai.bundle import ConfigWorkflow

from shared.handlers.tracking import plain_options

from ..conftest import REPOSITORY, SMALL, config

NEEDS_MLFLOW = "MLflow is an extra: pip install -e .[mlflow]"


def test_options_are_what_is_plain_at_the_top_of_a_config():
    content = {"a": 1, "b": [1, 2], "c": "text", "d": None, "e": True}
    other = {"f": "$1 + 1", "g": "@a", "h": {"x": 1}, "i": [{"x": 1}], "j": ["@a"], "k": [[1]], "l": "x" * 501}
    assert plain_options({**content, **other}) == {"a": "1", "b": "[1, 2]", "c": "text", "d": "None", "e": "True"}


TRAININGS = [
    path
    for path in sorted(REPOSITORY.glob("bundles/*/configs/train*.yaml"))
    if {"bundle_root", "train"} <= yaml.safe_load(path.read_text()).keys()  # complete, not an overlay
]


@pytest.mark.parametrize("path", TRAININGS, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_every_training_takes_the_handler(path, tmp_path):
    """MONAI finds the trainer under its usual name and adds its handler; the config is written into output_dir."""
    workflow = ConfigWorkflow(str(path), workflow_type="train", tracking="mlflow", output_dir=str(tmp_path), logging_file=False)
    assert workflow.parser.get("train#handlers")[-1]["_target_"] == "MLFlowHandler"
    assert any("Checkpoints" in handler["_target_"] for handler in workflow.parser.get("train#handlers"))
    assert workflow.parser.get("train#trainer")["train_handlers"] == "@train::handlers"
    options = plain_options(json.loads(next(tmp_path.glob("config_*.json")).read_text()))
    rate = "diffusion_learning_rate" if path.stem == "train_diffusion" else "learning_rate"
    assert {"seed", "max_epochs", rate, "output_dir"} <= options.keys()


def test_params_scores_and_artefacts_reach_a_local_database(brats_dir, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason=NEEDS_MLFLOW)
    options = {**SMALL, "patch_size": [16, 16, 16], "patches_per_case": 1, "max_epochs": 1, "workers": 0}
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", config("train"), "--tracking", "mlflow", *words]
    folders = ["--dataset_dir", str(brats_dir), "--output_dir", str(tmp_path / "run"), "--experiment_name", "tumours"]
    ended = subprocess.run([*command, *folders], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    client = mlflow.tracking.MlflowClient(f"sqlite:///{tmp_path}/run/mlruns.db")
    experiment = client.get_experiment_by_name("tumours")
    (run,) = client.search_runs(experiment.experiment_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == "0.0003" and run.data.params["patch_size"] == "[16, 16, 16]"
    assert run.data.params["max_epochs"] == "1"
    assert {"train_loss", "dice"} <= run.data.metrics.keys()
    artefacts = [artefact.path for artefact in client.list_artifacts(run.info.run_id)]
    assert {"model.pt", "validation.csv"} <= set(artefacts)
    assert any(re.fullmatch(r"config_\d+_\d+\.json", name) for name in artefacts)
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))  # TensorBoard goes on
