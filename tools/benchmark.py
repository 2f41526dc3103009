"""`benchmark`: time, memory and Dice of a bundle's inference on synthetic cases, or the speed of its training."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser

from shared.paths import atomic_write

from . import bundles, datasets
from .network_speed import compare_networks, network_rows
from .phantom import phantom
from .prepare import load, prepare

BUSY = 0.5  # load average above which other programs disturb
CACHES = ("none", "memory", "disk")
SMOKE = bundles.REPOSITORY / "shared" / "configs" / "smoke.yaml"
RECIPES = Path(__file__).parent / "benchmarks"


def benchmark(
    name: str,
    against: str | None = None,
    runs: int = 3,
    cases: int = 2,
    training: bool = False,
    output: str | None = None,
    **overrides,
) -> None:
    """Measure a bundle on synthetic cases (the "benchmark" entry of its metadata.json, else "demo") and print tables.

    Inference: wall time and peak memory of whole processes, as the command is run by hand, then one more run with a clock in
    every stage. Nothing else should run on the machine meanwhile. Not on Windows.

    Args:
        name: the bundle, or the folder of one.
        against: a recipe to compare with, "plain" for tools/benchmarks/plain_<bundle>.yaml, or an entry of
            "benchmark_networks" in metadata.json: the same network of another package (tools/network_speed.py). Both in turn.
        runs: whole processes of each; with --training, measured epochs.
        cases: how many.
        training: steps per second instead, for every choice of `cache`, on the small cases of "demo" with shared/configs/
            smoke.yaml and the options under "benchmark_training" in metadata.json.
        output: a JSON file for all numbers.
        overrides: options of the bundle's config; the recipe gets those that it defines.

    Raises:
        ValueError: there is no such recipe, the bundle is a generator, or training is to be compared with one.
        ChildProcessError: a measured process failed.
    """
    if training and against:
        raise ValueError("--against compares inference, not --training")
    if bundles.is_generator(bundles.folder(name)):
        raise ValueError(f"{name} makes films instead of reading them: python -m tools samples speed --bundle {name}")
    metadata, conditions = bundles.metadata(name), machine()
    if conditions["load"] > BUSY:
        print(f"WARNING: load average {conditions['load']:.1f}: other programs are running, times will be too long")
    with tempfile.TemporaryDirectory() as temporary:
        if training:
            result = measure_training(name, cases, runs, overrides, Path(temporary))
            print(training_table(result["caches"]))
        elif against in metadata.get("benchmark_networks", {}):
            result = {"networks": compare_networks(name, against, runs, Path(temporary))}
            print(markdown(network_rows(result["networks"])))
        else:
            result = measure_inference(name, against, cases, runs, overrides, Path(temporary))
            print(inference_tables(result["contenders"], cases))
    if output:
        content = {"bundle": bundles.folder(name).name, "version": metadata["version"], "machine": conditions}
        content |= {"cases": cases, "options": overrides, **result}
        with atomic_write(Path(output).expanduser()) as partial:
            partial.write_text(json.dumps(content, indent=1) + "\n")


def machine() -> dict:
    """What the numbers depend on."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.is_file() else None
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in ("torch", "monai")},
    }


@dataclass
class Contender:
    """A command that is measured: config files with options, and what came out."""

    files: list[str]
    options: dict
    seconds: list[float] = field(default_factory=list)
    peak_gib: list[float] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    dice: dict[str, float] = field(default_factory=dict)

    def measured(self) -> dict:
        """What came out."""
        return {key: value for key, value in vars(self).items() if key not in ("files", "options")}


def config_file(root: Path, name: str) -> str:
    """Path of the config "train" or "inference", YAML or JSON."""
    return str(next(root.glob(f"configs/{name}.[jy]*")))


def contenders(name: str, against: str | None, data: Path, overrides: Mapping) -> dict[str, Contender]:
    """The bundle and the recipe that it is compared with, by name."""
    root = bundles.folder(name)
    common = {"bundle_root": str(root), "dataset_dir": str(data)}
    found = {root.name: Contender([config_file(root, "inference")], {**common, **overrides})}
    if against:
        recipe = RECIPES / f"{against}_{root.name}.yaml"
        if not recipe.is_file():
            known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
            raise ValueError(f"nothing to compare with: no {recipe}; there are {known}")
        own = ConfigParser.load_config_file(recipe)
        bundle = ConfigParser.load_config_file(config_file(root, "inference"))
        given = {"network_def": bundle["network_def"], "checkpoint": str(root / "models" / "model.pt")}
        given |= {key: value for key, value in overrides.items() if key.partition("::")[0] in own}
        found[against] = Contender([str(recipe)], {**common, **given})
    return found


def measure_inference(
    name: str, against: str | None, cases: int, runs: int, overrides: Mapping, folder: Path
) -> dict[str, dict]:
    """Run every contender `runs` times in turn, then each once more with clocks.

    Returns:
        under "contenders" all that was measured of each by name, with two of them "ratio", of the median times.
    """
    metadata, data = bundles.metadata(name), folder / "data"
    measured = contenders(name, against, data, overrides)
    synthetic = {**metadata.get("benchmark", metadata["demo"]), "cases": cases}
    kind = synthetic.pop("phantom")
    phantom[kind](str(data), **synthetic)
    for turn in range(1, runs + 1):
        for label, contender in measured.items():
            out = folder / f"{label}_{turn}"
            words = ["monai.bundle", "run", "--config_file", str(contender.files)]
            for key, value in {**contender.options, "output_dir": str(out)}.items():
                words += [f"--{key}", str(value)]
            seconds, peak = run_process(words, folder)
            contender.seconds.append(seconds)
            contender.peak_gib.append(peak)
            print(f"run {turn} of {label}: {seconds:.1f} s, peak memory {peak:.2f} GiB")
    for label, contender in measured.items():
        out = folder / f"{label}_stages"
        options = {**contender.options, "output_dir": str(out)}
        if "workers" in ConfigParser.load_config_files(contender.files):
            options["workers"] = 0  # clocks in other processes are not seen
        contender.stages, _ = run_stages("inference", contender.files, options, folder)
        contender.dice = mean_dice(bundles.folder(name), kind, data, out)
    result: dict = {"contenders": {label: contender.measured() for label, contender in measured.items()}}
    if against:
        bundle, other = (median(contender.seconds) for contender in measured.values())
        result["ratio"] = other / bundle
        print(f"\nmedian {bundle:.1f} s against {other:.1f} s: {other / bundle:.2f} times as fast as {against}")
    return result


def run_process(words: Sequence[str], folder: Path) -> tuple[float, float]:
    """Run `python -m words...` in the repository.

    Returns:
        seconds from start to end, and the largest resident memory in GiB (at least that of this process, which the system
        counts for a child until it has become another program).

    Raises:
        ChildProcessError: its exit code is not 0; the message ends with what it said last.
    """
    log = folder / "log"
    with log.open("w") as said:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=bundles.REPOSITORY, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ChildProcessError(f"{' '.join(words)}\nended with {process.returncode}:\n{log.read_text()[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return seconds, usage.ru_maxrss * unit / 2**30


def run_stages(what: str, files: Sequence[str], options: Mapping, folder: Path) -> tuple[dict, float]:
    """Run configs with clocks in them (see tools/stages.py); what they report, and the peak memory in GiB."""
    job, report = folder / "job.json", folder / "report.json"
    job.write_text(json.dumps({"what": what, "files": list(files), "options": dict(options)}))
    _, peak = run_process(["tools.stages", str(job), str(report)], folder)
    return json.loads(report.read_text()), peak


def mean_dice(root: Path, kind: str, data: Path, out: Path) -> dict[str, float]:
    """Mean Dice over cases of each region in the inference config's `region_labels`; empty if it has none.

    Predictions are label maps with the phantom's label values, or 4D files with a channel per region.
    """
    regions = ConfigParser.load_config_file(config_file(root, "inference")).get("region_labels", {})
    if not regions:
        return {}
    scores: dict[str, list[float]] = {region: [] for region in regions}
    for case in load(datasets, kind).read(str(data)):
        found = [path for path in sorted(out.rglob("*.nii.gz")) if path.name.startswith(case["case"])]
        if len(found) != 1:
            raise ValueError(f"{out}: expected one prediction of {case['case']}, found {len(found)}")
        truth, pred = (np.asarray(nib.load(path).dataobj) for path in (case["label"], found[0]))
        for channel, (region, values) in enumerate(regions.items()):
            wanted = np.isin(truth, values)
            given = pred[..., channel] > 0 if pred.ndim == 4 else np.isin(pred, values)
            total = int(wanted.sum() + given.sum())
            scores[region].append(2 * int((wanted & given).sum()) / total if total else 1.0)
    return {region: mean(values) for region, values in scores.items()}


def inference_tables(measured: Mapping[str, Mapping], cases: int) -> str:
    """Markdown: times, memory and Dice of each contender, and its stages."""
    regions = [f"Dice {region}" for region in next(iter(measured.values()))["dice"]]
    rows = [["", "s (all runs)", "s per case", "cases per min", "peak GiB", *regions]]
    for label, m in measured.items():
        middle, all_runs = median(m["seconds"]), ", ".join(f"{s:.1f}" for s in m["seconds"])
        numbers = [f"{middle / cases:.1f}", f"{60 * cases / middle:.2f}", f"{max(m['peak_gib']):.2f}"]
        rows.append([label, f"{middle:.1f} ({all_runs})", *numbers, *(f"{value:.3f}" for value in m["dice"].values())])
    names = list(dict.fromkeys(stage for m in measured.values() for stage in m["stages"]))
    stages = [["stage (s)", *measured]]
    stages += [[stage, *(f"{m['stages'].get(stage, 0):.2f}" for m in measured.values())] for stage in names]
    return f"\n{markdown(rows)}\n\n{markdown(stages)}"


def measure_training(name: str, cases: int, epochs: int, overrides: Mapping, folder: Path) -> dict[str, dict]:
    """Train on small cases with each cache; under "caches" what tools/stages.py reports of each."""
    root, metadata, data = bundles.folder(name), bundles.metadata(name), folder / "data"
    synthetic = {**metadata["demo"], "cases": cases + 1}  # one to validate, since no dataset may be empty
    kind = synthetic.pop("phantom")
    phantom[kind](str(data), **synthetic)
    prepare(kind, str(data), testing=0)
    # one epoch to start with, and no validation
    settings = {"max_epochs": epochs + 1, "val_interval": epochs + 2, **metadata.get("benchmark_training", {}), **overrides}
    settings |= {"bundle_root": str(root), "dataset_dir": str(data)}
    files = [config_file(root, "train"), str(SMOKE)]
    caches = {}
    for cache in CACHES:
        options = {**settings, "cache": cache, "output_dir": str(folder / cache)}
        report, peak = run_stages("training", files, options, folder)
        caches[cache] = {**report, "peak_gib": peak}
    return {"caches": caches}


def training_table(caches: Mapping[str, Mapping]) -> str:
    """Markdown: speed with each cache."""
    rows = [["cache", "steps per s", "first epoch (s)", "start (s)", "peak GiB"]]
    for cache, m in caches.items():
        numbers = [f"{m['steps'] / m['seconds']:.2f}", f"{m['first epoch']:.1f}", f"{m['start']:.1f}", f"{m['peak_gib']:.2f}"]
        rows.append([cache, *numbers])
    return markdown(rows)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; the first row is its head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
