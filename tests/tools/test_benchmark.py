"""The benchmark measures what it says, on whole processes, and scores what they wrote."""

import json
import resource
import shutil
import sys
import time
from pathlib import Path
from statistics import median

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigParser
from monai.transforms import Compose, Flip, Invertd, ScaleIntensity

from tools import benchmark as module
from tools import stages
from tools.benchmark import RECIPES, benchmark, mean_dice, run_process
from tools.bundles import names
from tools.stages import Clock, time_calls

SMALL = {"phantom": "brats", "spacing": 4.0, "seed": 3}


@pytest.fixture
def bundle(small_bundle, tmp_path) -> Path:
    """The small bundle under the name of one that has a recipe to compare with, and small cases."""
    root = shutil.copytree(small_bundle, tmp_path / "brats_seg3d")
    metadata = json.loads((root / "configs" / "metadata.json").read_text())
    options = {"patch_size": [16, 16, 16], "patches_per_case": 1, "device": "cpu"}
    metadata |= {"benchmark": SMALL, "demo": {**SMALL, "cases": 5}, "benchmark_training": options}
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return root


@pytest.fixture
def stages_here(monkeypatch):
    """Let the runs with clocks happen in this process, which has imported everything already."""

    def here(words, folder):
        if words[0] != "tools.stages":
            return run_process(words, folder)
        stages.main(*words[1:])
        return 0.0, 0.0

    monkeypatch.setattr(module, "run_process", here)


def test_bundle_and_recipe_are_timed_and_scored(bundle, tmp_path, stages_here, capsys):
    report = tmp_path / "report.json"
    options = {"device": "cpu", "pictures": False, "window": [32, 32, 32]}
    benchmark(str(bundle), against="plain", runs=1, cases=1, output=str(report), **options)
    content, said = json.loads(report.read_text()), capsys.readouterr().out
    assert list(content["contenders"]) == ["brats_seg3d", "plain"]
    for name, measured in content["contenders"].items():
        stages_ = measured["stages"]
        assert {"import", "config", "load", "preprocess", "network", "postprocess", "save", "whole"} <= set(stages_)
        assert all(seconds >= 0 for seconds in stages_.values()) and stages_["network"] > 0.01
        assert stages_["whole"] >= max(stages_.values())
        (seconds,), (peak,) = measured["seconds"], measured["peak_gib"]
        assert 1 < seconds < 300 and 0.1 < peak < 20
        assert list(measured["dice"]) == ["TC", "WT", "ET"] and all(0 <= value <= 1 for value in measured["dice"].values())
        assert f"| {name}" in said
    ours, plain = (median(measured["seconds"]) for measured in content["contenders"].values())
    assert content["ratio"] == pytest.approx(plain / ours)
    assert content["machine"]["cores"] and content["version"] == "0.1.0"
    assert content["options"] == options
    assert str(tmp_path) not in report.read_text()


def test_a_recipe_takes_the_bundles_network_and_the_options_that_it_has(bundle, tmp_path):
    overrides = {"device": "cpu", "pictures": False, "window": [32, 32, 32]}
    ours, plain = module.contenders(str(bundle), "plain", tmp_path, overrides).values()
    assert {key: ours.options[key] for key in overrides} == overrides
    assert plain.options["network_def"]["init_filters"] == 8
    assert plain.options["device"] == "cpu" and plain.options["window"] == [32, 32, 32] and "pictures" not in plain.options


def test_training_speed_of_every_cache(bundle, tmp_path, stages_here, capsys):
    benchmark(str(bundle), training=True, cases=2, runs=2, output=str(tmp_path / "report.json"))
    measured = json.loads((tmp_path / "report.json").read_text())["caches"]
    assert list(measured) == ["none", "memory", "disk"]
    for speed in measured.values():
        assert speed["steps"] == 4 and speed["seconds"] > 0 and speed["first epoch"] > 0 and speed["start"] > 0
    rows = capsys.readouterr().out.splitlines()[-3:]
    assert [row.split()[1] for row in rows] == list(measured)


def test_nested_stages_are_counted_once_and_threads_apart():
    clock = Clock()
    with clock("outer"):
        time.sleep(0.02)
        with clock("inner"):
            time.sleep(0.05)
    assert clock.seconds["inner"] >= 0.05
    assert 0.02 <= clock.seconds["outer"] < 0.05


def test_a_timed_transform_keeps_its_type_name_and_inverse():
    clock, flip = Clock(), Flip(0)
    compose = Compose([flip, ScaleIntensity()])
    time_calls(flip, "flip", clock)
    time_calls(compose, "all", clock)
    image = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    assert isinstance(flip, Flip) and type(flip).__name__ == "Flip"
    turned = compose(image)
    assert set(clock.seconds) == {"flip", "all"}
    assert float(turned[0, 0, 0, 0]) > 0.5
    assert Invertd("pred", Compose([flip]), "image") is not None
    np.testing.assert_allclose(flip.inverse(flip(image)), image)


@pytest.mark.parametrize("channels", [False, True])
def test_dice_is_that_worked_out_by_hand(small_bundle, tmp_path, channels):
    """Label 4 in 4 voxels, of which the prediction has 2 and 2 others: Dice 0.5; nothing else is there, in neither."""
    from tools.phantoms.brats import brats

    brats(str(tmp_path / "data"), cases=1, spacing=8.0)
    (path,) = (tmp_path / "data").rglob("*_seg.nii.gz")
    truth, pred = np.zeros((2, 20, 20, 20), np.uint8)
    truth[0, 0, :4], pred[0, 0, 2:6] = 4, 4
    nib.save(nib.Nifti1Image(truth, np.eye(4)), path)
    (tmp_path / "out").mkdir()
    written = np.stack([pred > 0] * 3, -1).astype(np.uint8) if channels else pred
    nib.save(nib.Nifti1Image(written, np.eye(4)), tmp_path / "out" / "BraTS20_Training_001_any.nii.gz")
    assert mean_dice(small_bundle, "brats", tmp_path / "data", tmp_path / "out") == {"TC": 0.5, "WT": 0.5, "ET": 0.5}


def test_a_process_that_fails_says_what_it_said_last(tmp_path):
    with pytest.raises(ChildProcessError, match="(?s)no_such_module\nended with 1:.*No module named"):
        run_process(["no_such_module"], tmp_path)


def test_peak_memory_is_that_of_the_process(tmp_path, monkeypatch):
    (tmp_path / "big.py").write_text("import time\nblock = b'x' * (3 * 2**29)\ntime.sleep(0.1)\n")
    monkeypatch.setattr(module.bundles, "REPOSITORY", tmp_path)
    seconds, peak = run_process(["big"], tmp_path)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    assert 1.5 < peak < max(1.6, own + 0.1) and seconds > 0.1


def test_a_busy_machine_is_told(bundle, monkeypatch, capsys):
    monkeypatch.setattr(module.os, "getloadavg", lambda: (1.5, 1, 1))
    monkeypatch.setattr(module, "measure_inference", lambda *_: {"contenders": {}})
    monkeypatch.setattr(module, "inference_tables", lambda *_: "")
    benchmark(str(bundle))
    assert "WARNING: load average 1.5" in capsys.readouterr().out


def test_comparisons_that_do_not_exist_are_refused(bundle):
    with pytest.raises(ValueError, match="no .*fancy_brats_seg3d.yaml; there are .*plain_brats_seg3d"):
        benchmark(str(bundle), against="fancy")
    with pytest.raises(ValueError, match="--against compares inference"):
        benchmark(str(bundle), against="plain", training=True)


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_belong_to_bundles_and_use_none_of_our_code(recipe):
    assert recipe.stem.partition("_")[2] in names()
    assert "shared." not in recipe.read_text()
    assert {"preprocessing", "inferer", "postprocessing", "evaluator", "run"} <= set(ConfigParser.load_config_file(recipe))


def test_nothing_is_imported_before_the_clock_runs():
    import subprocess

    program = "import sys, tools.stages; sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=module.bundles.REPOSITORY).returncode == 0
