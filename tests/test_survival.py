"""Folders of cases: interrupted runs, restarts, memory."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import run

from shared.handlers import RegionVolumes
from shared.handlers.case_table import read_rows
from tools.phantoms.brats import brats

from .conftest import REPOSITORY, SMALL, config


def settings(data, output, weights, **options) -> dict:
    return {**SMALL, "dataset_dir": str(data), "output_dir": str(output), "checkpoint": str(weights), **options}


def command(data, output, weights) -> list[str]:
    words = [sys.executable, "-m", "monai.bundle", "run", "--config_file", config("inference")]
    for key, value in settings(data, output, weights).items():
        words += [f"--{key}", str(value)]
    return words


def label_maps(output: Path) -> dict[str, np.ndarray]:
    """Every label map in the folder, read whole."""
    return {path.name: np.asarray(nib.load(path).dataobj) for path in sorted(output.glob("[!.]*.nii.gz"))}


@pytest.fixture(scope="module")
def straight(brats_dir, small_weights, tmp_path_factory) -> Path:
    """What a run that nobody disturbs leaves."""
    output = tmp_path_factory.mktemp("straight")
    run(config_file=config("inference"), **settings(brats_dir, output, small_weights))
    return output


@pytest.mark.parametrize("first_sign", ["BraTS20_Training_001_seg.nii.gz", "pictures/.partial-*", "volumes.csv"])
def test_a_killed_run_leaves_whole_files_and_the_next_one_finishes(brats_dir, small_weights, straight, tmp_path, first_sign):
    output = tmp_path / "killed"
    with subprocess.Popen(command(brats_dir, output, small_weights), cwd=REPOSITORY, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list(output.glob(first_sign)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    left = label_maps(output)  # raises if a file is cut off
    for picture in output.glob("pictures/[!.]*.png"):
        assert picture.read_bytes()[-8:-4] == b"IEND"
    assert len(left) > 0 or first_sign != "BraTS20_Training_001_seg.nii.gz"
    assert set(read_rows(output / "volumes.csv")) <= {name.removesuffix("_seg.nii.gz") for name in left}

    run(config_file=config("inference"), **settings(brats_dir, output, small_weights))
    expected, finished = label_maps(straight), label_maps(output)
    assert list(expected) == list(finished) and len(finished) == 6
    assert all(np.array_equal(expected[name], finished[name]) for name in expected)
    assert read_rows(output / "volumes.csv") == read_rows(straight / "volumes.csv")
    assert len(list(output.glob("pictures/[!.]*.png"))) == 6
    assert not list(output.rglob(".partial-*"))


def test_finished_cases_are_skipped_unless_overwrite(brats_dir, small_weights, tmp_path, caplog):
    options = settings(brats_dir, tmp_path, small_weights, pictures=False)
    options["logging_file"] = False  # the bundle's logging.conf takes messages away from caplog
    run(config_file=config("inference"), **options)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.nii.gz")}
    again = sorted(times)[2]
    again.unlink()
    with caplog.at_level("INFO"):
        run(config_file=config("inference"), **options)
    assert any(m.startswith("5 of 6 cases are finished") and "--overwrite true" in m for m in caplog.messages)
    changed = [path for path, then in times.items() if path.stat().st_mtime_ns != then]
    assert changed == [again]
    run(config_file=config("inference"), **options)  # nothing to do is no error
    run(config_file=config("inference"), **options, overwrite=True)
    assert all(path.stat().st_mtime_ns != then for path, then in times.items())


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of the process from /proc")
def test_memory_does_not_grow_with_the_number_of_cases(small_weights, tmp_path, monkeypatch):
    brats(str(tmp_path / "data"), cases=30, spacing=3.0)
    resident = []

    def measure(self, labels, original=RegionVolumes.__call__):
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)
        return original(self, labels)

    monkeypatch.setattr(RegionVolumes, "__call__", measure)
    run(config_file=config("inference"), **settings(tmp_path / "data", tmp_path / "out", small_weights))
    assert len(resident) == 30
    # a case's four channels are 5 MiB on this grid before anything is done with them: keeping them would add 50 MiB in ten cases;
    # the least of ten, because what the allocator has not yet given back comes and goes by as much
    assert min(resident[20:]) - min(resident[10:20]) < 25
