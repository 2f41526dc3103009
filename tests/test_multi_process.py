"""Two processes (gloo on the CPU) do what one does: training, evaluation, inference, and a restart after a kill."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from monai.bundle import run

from shared import distributed
from shared.handlers import EpochSeed
from shared.handlers.case_table import read_rows
from tools.phantoms.ixi import ixi
from tools.phantoms.mimic_cxr import mimic_cxr
from tools.prepare import prepare

from .conftest import REPOSITORY, SMALL, SMALL_HEADS, config

OVERLAY = str(REPOSITORY / "shared" / "configs" / "multi_gpu.yaml")
TIMEOUT = 120  # seconds: a run that waits for ever fails
TOGETHER = """
# Nothing random and two cases a step, in one process or in two: then both must learn the same.
patch_size: [24, 24, 24]
train::random:
- {_target_: ResizeWithPadOrCropd, keys: [image, label], spatial_size: "@patch_size"}
optimizer: {_target_: torch.optim.SGD, params: $@network.parameters(), lr: 0.1}
lr_scheduler::T_max: 3
+run:
- $torch.save(@network.state_dict(), '%s/rank%d.pt' % (@output_dir, @rank))
"""
SAME_VIEWS = """
# No view is random, so that two processes see what one does.
train::random:
- {_target_: ToTensord, keys: [image, label], track_meta: false}
- {_target_: SelectItemsd, keys: [case, subject, image, label]}
+run:
- $torch.save(@network.state_dict(), '%s/rank%d.pt' % (@output_dir, @rank))
"""


@contextlib.contextmanager
def torchrun(files: list[str], options: dict, processes: int = 2, launcher: tuple[str, ...] = ()) -> Iterator[subprocess.Popen]:
    """Start a run in several processes, each with one thread; they are ended with the block."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", *launcher]
    command += ["-m", "monai.bundle", "run", "--config_file", str([*files, OVERLAY])]
    for key, value in options.items():
        command += [f"--{key}", str(value)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # as multi_gpu.yaml says, for restarts
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            process.terminate()  # torchrun then ends its workers; a process that ended already is left alone


def torchrun_to_the_end(*args, **kwargs) -> tuple[int, str]:
    """Exit code and console output of a run in several processes."""
    with torchrun(*args, **kwargs) as process:
        console, _ = process.communicate(timeout=TIMEOUT)
        return process.returncode, console


@pytest.fixture(autouse=True)
def one_thread():
    """The order in which numbers are added depends on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def dataset(brats_dir, tmp_path_factory) -> dict[str, str]:
    """Options for 2 cases to train, 1 to validate (fewer than processes) and 3 to test (not divisible by 2)."""
    content = json.loads((brats_dir / "datalist.json").read_text())
    cases = [*content["training"], *content["validation"], *content["testing"]]
    path = tmp_path_factory.mktemp("datalist") / "datalist.json"
    path.write_text(json.dumps({"training": cases[:2], "validation": cases[2:3], "testing": cases[3:]}))
    return {"dataset_dir": str(brats_dir), "datalist": str(path), "workers": 0, **SMALL}


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> list[str]:
    """The configs of a training without chance."""
    path = tmp_path_factory.mktemp("together") / "together.yaml"
    path.write_text(TOGETHER)
    return [config("train"), str(path)]


def state(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def test_two_processes_train_as_one_does_and_go_on_after_a_kill(dataset, together, tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    for epochs in (1, 3):
        options = {**dataset, "max_epochs": epochs, "resume": epochs > 1, "output_dir": str(alone)}
        run(config_file=together, **options, cases_per_batch=2)
        if epochs == 1:
            shutil.copytree(alone, killed)

    # the second and third epoch in two processes, one of which is killed in the third
    first = (killed / "last.pt").stat().st_mtime_ns
    with torchrun(together, {**options, "output_dir": str(killed)}, launcher=("--max-restarts=1",)) as process:
        deadline = time.monotonic() + TIMEOUT
        while (killed / "last.pt").stat().st_mtime_ns == first and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert state(killed / "last.pt")["epoch"] == 2
        workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout.split()
        os.kill(int(workers[-1]), signal.SIGKILL)
        console, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, console
    assert "exitcode: -9" in console, console

    expected, last = state(alone / "last.pt"), state(killed / "last.pt")
    assert last["epoch"] == expected["epoch"] == 3
    assert last["best_metric"] == pytest.approx(expected["best_metric"], abs=1e-4)
    ranks = [state(killed / f"rank{rank}.pt") for rank in (0, 1)]
    assert list(last["network"]) == list(expected["network"])  # no "module." in front
    for key, value in expected["network"].items():
        assert torch.equal(ranks[0][key], ranks[1][key]), key
        assert torch.equal(ranks[0][key], last["network"][key]), key
        torch.testing.assert_close(last["network"][key], value, atol=1e-5, rtol=1e-4)
    assert_same_scores(killed / "validation.csv", alone / "validation.csv", cases=1)


def assert_same_scores(found: Path, expected: Path, cases: int) -> None:
    """Two tables hold the same cases in the same order, and scores that differ by less than 1e-4."""
    found, expected = read_rows(found), read_rows(expected)
    assert list(found) == list(expected) and len(expected) == cases
    for case, row in expected.items():
        scores = {key: pytest.approx(float(value), abs=1e-4, nan_ok=True) for key, value in row.items() if key != "case"}
        assert {key: float(value) for key, value in found[case].items() if key != "case"} == scores


def test_two_processes_fit_ages_to_the_heads_of_both(tmp_path):
    """ixi_age_regression solves for its layers once an epoch: with what all processes have measured."""
    heads = tmp_path / "heads"
    ixi(str(heads), cases=5, seed=3, spacing=4.0)
    prepare("ixi", str(heads), validation=0.2, testing=0)
    assert len(json.loads((heads / "datalist.json").read_text())["training"]) == 4
    (tmp_path / "same.yaml").write_text(SAME_VIEWS)
    files = [config("train", "ixi_age_regression"), str(tmp_path / "same.yaml")]
    options = {**SMALL_HEADS, "dataset_dir": str(heads), "finetune": None, "max_epochs": 1}
    run(config_file=files, output_dir=str(tmp_path / "one"), heads_per_batch=4, **options)
    code, console = torchrun_to_the_end(files, {**options, "output_dir": tmp_path / "two", "heads_per_batch": 2})
    assert code == 0, console
    assert console.count("fit to 4 people, 4 views") == 1
    ranks = [state(tmp_path / "two" / f"rank{rank}.pt") for rank in (0, 1)]
    last = state(tmp_path / "two" / "last.pt")["network"]
    assert last["age.weight"].any() and last["sex.weight"].any()
    for key, value in last.items():
        assert torch.equal(ranks[0][key], value) and torch.equal(ranks[1][key], value), key
    found, expected = (read_rows(tmp_path / name / "validation.csv") for name in ("two", "one"))
    assert list(found) == list(expected) and len(expected) == 1
    for case, row in expected.items():
        assert float(found[case]["age_pred"]) == pytest.approx(float(row["age_pred"]), abs=0.05)


def test_two_processes_train_one_critic(tmp_path):
    """Stage 1 of cxr_ldm has a second network, whose gradients are averaged, too."""
    mimic_cxr(str(tmp_path / "films"), cases=12, seed=2, size=64)
    prepare("mimic_cxr", str(tmp_path / "films"), workers=1)
    (tmp_path / "save.yaml").write_text(f"+run:\n- $torch.save(@critic.state_dict(), '{tmp_path}/rank%d.pt' % @rank)\n")
    sizes = {"image_size": 64, "ssim_kernel": 3, "autoencoder_channels": "[8,8,8,8]", "critic_channels": 4}
    options = {**sizes, "dataset_dir": tmp_path / "films", "output_dir": tmp_path / "out", "critic_from": 0, "max_epochs": 1}
    files = [config("train_autoencoder", "cxr_ldm"), str(tmp_path / "save.yaml")]
    code, console = torchrun_to_the_end(files, {**options, "val_interval": 1, "films_per_batch": 2})
    assert code == 0, console
    first, second = (state(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    weights = [key for key in first if "running" not in key]  # those statistics are each process's own
    assert weights and all(torch.equal(first[key], second[key]) for key in weights)


def test_three_cases_are_scored_once_by_two_processes(dataset, small_weights, tmp_path):
    files = [config("train"), config("evaluate")]
    options = {**dataset, "checkpoint": str(small_weights)}
    run(config_file=files, output_dir=str(tmp_path / "one"), **options)
    code, console = torchrun_to_the_end(files, {**options, "output_dir": tmp_path / "two"})
    assert code == 0, console
    assert_same_scores(tmp_path / "two" / "per_case.csv", tmp_path / "one" / "per_case.csv", cases=3)
    rows = read_rows(tmp_path / "one" / "per_case.csv").values()
    mean = sum(float(row[f"dice_{region}"]) for row in rows for region in ("TC", "WT", "ET")) / 9
    assert f"dice: {mean:.4f}" in console  # the log of the first process, which nobody repeats
    assert console.count("Epoch[1] Metrics") == 1


def test_two_processes_segment_as_one_does(brats_dir, small_weights, tmp_path):
    options = {**SMALL, "dataset_dir": str(brats_dir), "checkpoint": str(small_weights)}
    run(config_file=config("inference"), output_dir=str(tmp_path / "one"), **options)
    code, console = torchrun_to_the_end([config("inference")], {**options, "output_dir": tmp_path / "two"})
    assert code == 0, console
    files = [sorted(p.name for p in (tmp_path / n).rglob("*") if p.is_file() and p.name[0] != ".") for n in ("one", "two")]
    assert files[0] == files[1] and len(files[0]) == 6 + 6 + 1
    for name in [name for name in files[0] if not name.endswith(".png")]:
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name


def test_failures_of_all_processes_are_listed_once_and_none_without_a_case_is_waited_for(brats_dir, small_weights, tmp_path):
    names = ["BraTS20_Training_001", "BraTS20_Training_002"]
    for name in names:
        shutil.copytree(brats_dir / "MICCAI_BraTS2020_TrainingData" / name, tmp_path / "in" / name)
    damaged = tmp_path / "in" / names[1] / f"{names[1]}_t1.nii.gz"
    damaged.write_text("this is no image")
    options = {**SMALL, "dataset_dir": tmp_path / "in", "output_dir": tmp_path / "out", "checkpoint": small_weights}
    code, console = torchrun_to_the_end([config("inference")], options, processes=3)
    assert code != 0
    assert console.count(f"1 of 2 cases failed:\n  {names[1]}: {damaged}: not a readable NIfTI image") == 1
    assert list(read_rows(tmp_path / "out" / "volumes.csv")) == names[:1]
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == [f"{names[0]}_seg.nii.gz"]


@pytest.mark.parametrize(("cases", "processes"), [(7, 3), (6, 2), (2, 5), (1, 2), (3, 1), (0, 2)])
def test_shares_hold_every_case_equally_often(cases, processes, monkeypatch):
    monkeypatch.setattr(distributed.idist, "barrier", lambda: None)
    monkeypatch.setattr(distributed.idist, "get_world_size", lambda: processes)

    def shares(**options):
        for rank in range(processes):
            monkeypatch.setattr(distributed.idist, "get_rank", lambda rank=rank: rank)
            yield list(distributed.share(range(cases), **options))

    assert sorted(case for part in shares(idle=True) for case in part) == list(range(cases))
    counts = Counter(case for part in shares() for case in part)
    assert len(counts) == cases and len(set(counts.values())) <= 1
    assert not cases or all(shares())
    assert cases < processes or set(counts.values()) == {1}


def test_processes_draw_different_numbers_and_the_first_those_of_one_alone(monkeypatch):
    def draw(rank):
        monkeypatch.setattr("shared.handlers.seeding.idist.get_rank", lambda: rank)
        engine = Engine(lambda engine, batch: torch.rand(1).item())
        engine.data_loader = torch.utils.data.DataLoader([0, 1])
        EpochSeed(5).attach(engine)
        return engine.run(engine.data_loader).output

    assert draw(0) == draw(0) != draw(1) == draw(1)
