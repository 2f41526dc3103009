import subprocess
import sys

import pytest

from shared.errors import InputError
from shared.options import RUNNER, refuse_unknown

from ..conftest import REPOSITORY, config

TRAIN = f"['{config('train')}','{config('evaluate')}']"


def check(*words, files=TRAIN):
    refuse_unknown([str(RUNNER), "run", "--config_file", files, *words])


@pytest.mark.parametrize(
    "words",
    [
        ["--dataset_dir", "x", "--max_epochs=3"],
        ["--train::dataloader::num_workers", "3", "--network_def#init_filters", "8"],
        ["--train::dataloader::drop_last", "true"],  # a new argument of a component
        ["--validate::handlers::0::strict", "false", "--run_id", "run", "--meta_file", "m.json"],
        ["--checkpoint", "-1"],
        ["--tracking", "mlflow", "--tracking_uri", "http://host:5000", "--experiment_name", "tumours", "--run_name", "first"],
    ],
)
def test_keys_arguments_and_the_runners_own_options_pass(words):
    check(*words)


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("dataset_dri", "dataset_dir"),
        ("max_epoch", "max_epochs"),
        ("network_def::init_filter::x", "network_def::init_filters"),
        ("config_fil", "config_file"),
        ("tracking_uri", "tracking"),  # without --tracking nothing would read it
        ("train::datalaoder::num_workers", "train::dataloader::num_workers"),
    ],
)
def test_a_misspelt_option_is_refused_with_the_nearest_key(word, nearest):
    with pytest.raises(InputError, match=f"unknown option --{word}; the nearest is --{nearest}$"):
        check(f"--{word}", "3")


def test_other_programs_are_left_alone():
    refuse_unknown(["/usr/bin/pytest", "--config_file", "x", "--dataset_dri", "y"])


def test_the_command_ends_with_one_line(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", "--config_file", config("inference"), "--dataset_dri", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.strip().splitlines()[-1] == "unknown option --dataset_dri; the nearest is --dataset_dir"
    assert "Traceback" not in ended.stderr
