"""What holds for every bundle; bundles are found, not listed."""

import re

import pytest
import yaml

from tools import bundles, scores
from tools.demo import demo

from .conftest import REPOSITORY

NAMES = bundles.names()


def card(name: str) -> str:
    return (bundles.folder(name) / "docs" / "README.md").read_text()


def test_there_are_bundles():
    assert "brats_seg3d" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_verify_is_clean(name):
    from tools.verify import verify

    verify(name)


@pytest.mark.parametrize("name", NAMES)
def test_logs_look_alike_and_show_what_handlers_say(name):
    """MONAI reads logging.conf beside the configs; without it messages of handlers are lost."""
    own = (bundles.folder(name) / "configs" / "logging.conf").read_text()
    assert own == (REPOSITORY / "shared" / "configs" / "logging.conf").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_card_and_metadata_tell_the_same_scores(name):
    metrics = bundles.metadata(name)["eval_metrics"]
    assert metrics["scores"] and metrics["data"]
    assert scores.between(card(name), "scores") == scores.score_table(metrics)


def test_readme_and_metadata_tell_the_same_scores():
    assert scores.between((REPOSITORY / "README.md").read_text(), "bundles") == scores.overview_table()


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_small_plain_tensors(name):
    import torch

    for path in (bundles.folder(name) / "models").glob("*.pt"):
        assert path.stat().st_size <= 16 * 2**20
        state = torch.load(path, weights_only=True, map_location="cpu")
        assert all(isinstance(v, torch.Tensor) for v in state.values())


@pytest.mark.parametrize("name", NAMES)
def test_evaluate_says_only_what_differs_from_train(name):
    first = bundles.trainings(bundles.folder(name))[0]
    train, evaluate = (
        yaml.safe_load((bundles.folder(name) / "configs" / f"{c}.yaml").read_text()) for c in (first, "evaluate")
    )
    assert not [key for key, value in evaluate.items() if key in train and train[key] == value]


@pytest.mark.parametrize("name", NAMES)
def test_demo_runs_from_the_repositorys_form(name, capsys):
    """What `make demo` runs: data, label map and picture appear; for one bundle also when the folder is there already."""
    for _ in range(2 if name == "brats_seg3d" else 1):
        demo(name)  # which starts the runner as users do
        listed = re.findall(rf"^  (demo/{name}/output/\S+)$", capsys.readouterr().out, re.MULTILINE)
        assert listed and all((REPOSITORY / path).stat().st_size for path in listed)
