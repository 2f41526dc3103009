"""`prepare`: read a dataset on disk, check it, split it by subject, write a datalist."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from shared.paths import atomic_write, writable_dir

from . import datasets
from .parallel import unordered
from .splits import folds_by_subject, split_by_subject


def modules(package) -> list[str]:
    """Names of the modules in a package of this folder, which are the names that a verb accepts."""
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__))


def load(package, name: str):
    """Import the module `name` of a package.

    Raises:
        ValueError: there is no such module; the message lists those there are.
    """
    if name not in modules(package):
        raise ValueError(f"'{name}' is none of {', '.join(modules(package))}")
    return importlib.import_module(f"{package.__name__}.{name}")


def check_all(check: Callable, cases: list[dict], workers: int) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """`check` every case with a progress bar; problems of those that have any, and what else it returned, by case."""
    problems, findings = {}, {}
    if len(cases) < 20:
        workers = 1  # starting a process takes longer
    for case, found, finding in unordered(partial(_check_named, check), cases, workers, "check"):
        if found:
            problems.setdefault(case, []).extend(found)
        findings[case] = finding
    return dict(sorted(problems.items())), findings


def _check_named(check: Callable, item: dict) -> tuple[str, list[str], Any]:
    return item["case"], *check(item)


def prepare(
    dataset: str,
    directory: str,
    output: str | None = None,
    seed: int | None = None,
    validation: float | None = None,
    testing: float | None = None,
    folds: int = 0,
    bias_field: str | None = None,
    dicom: str | None = None,
    resized: str | None = None,
    workers: int = 2,
) -> None:
    """Check a dataset and write its datalist; prints counts, every problem and oddity. Cases with a problem are left out.

    Cases without what training needs, label map or age, come into a section of their own, "without_label" or "without_age".

    Args:
        dataset: brats, ixi, ... (a module of tools/datasets).
        directory: the dataset's folder, which becomes --dataset_dir of the bundle.
        output: the datalist; by default datalist.json in that folder.
        seed: of the split; by default 0, or what the dataset is usually split with (its SPLIT).
        validation: share of the subjects; by default 0.1.
        testing: share of the subjects; by default 0.2, or the dataset's.
        folds: also write datalist_fold1.json, ... beside the datalist, for cross-validation in that many folds.
        bias_field: a folder for N4-corrected copies, which the datalist then names (needs the extra `n4`).
        dicom: a folder for copies as DICOM with the table's tags in them, which the datalist then names (nih).
        resized: a folder for copies whose shorter side has 512 pixels, which the datalist then names (mimic_cxr).
        workers: processes for checking and correction.

    Raises:
        ValueError: copies are asked for that the dataset does not know.
    """
    reader = load(datasets, dataset)
    copies = {"to_dicom": dicom, "resized": resized}
    for function, wanted in copies.items():
        if wanted is not None and not hasattr(reader, function):
            raise ValueError(f"--{function.removeprefix('to_')} is not for {dataset}")
    usual = {"seed": 0, "validation": 0.1, "testing": 0.2, **getattr(reader, "SPLIT", {})}
    seed = usual["seed"] if seed is None else seed
    validation = usual["validation"] if validation is None else validation
    testing = usual["testing"] if testing is None else testing
    root = Path(directory).expanduser().resolve()
    cases = reader.read(str(root))
    problems, findings = check_all(reader.check, cases, workers)
    for item in cases:
        print("".join(f"NOTE {item['case']}: {text}\n" for text in item.pop("notes", [])), end="")
    if hasattr(reader, "summary"):
        print("\n".join(f"{case}: {reader.summary(findings[case])}" for case in sorted(findings) if case not in problems))
    for case, found in problems.items():
        print("\n".join(f"PROBLEM {case}: {text}" for text in found))
    lacking = [item["case"] for item in cases if reader.NEEDS not in item and item["case"] not in problems]
    if lacking:
        print(f"without {reader.NEEDS}, in a section of their own: {', '.join(lacking)}")
    good = [item for item in cases if item["case"] not in problems and reader.NEEDS in item]
    print(
        f"{len(cases)} cases of {len({i['subject'] for i in cases})} subjects: {len(good)} good, "
        f"{len(lacking)} without {reader.NEEDS}, {len(problems)} with problems"
    )
    path = Path(output).expanduser() if output else root / "datalist.json"
    strata = reader.strata(good) if good and hasattr(reader, "strata") else None
    if all("section" in item for item in good) and good:  # the dataset comes with a split
        lists = {path: {name: [i for i in good if i["section"] == name] for name in ("training", "validation", "testing")}}
    else:
        lists = {path: split_by_subject(good, seed, validation, testing, strata)}
    rest = [item for item in cases if item["case"] in lacking]
    lists[path] |= {f"without_{reader.NEEDS}": rest} if rest else {}
    if folds:
        splits = folds_by_subject(good, seed, validation, folds, strata)
        lists |= {path.with_name(f"{path.stem}_fold{i}{path.suffix}"): split for i, split in enumerate(splits, 1)}
    if bias_field is not None:
        from .bias_field import correct_cases

        good = correct_cases(good, root, Path(bias_field).expanduser().resolve(), workers)
    for function, wanted in copies.items():
        if wanted is not None:
            folder, copy = Path(writable_dir(wanted)), getattr(reader, function)
            good, rest = ([copy(i, folder) for i in tqdm(part, desc=function, unit="film")] for part in (good, rest))
    final = {item["case"]: _relative(item, root) for item in [*good, *rest]}
    path.parent.mkdir(parents=True, exist_ok=True)
    for file, sections in lists.items():
        print(file)
        content = {"dataset": dataset, "seed": seed}
        for name, part in sections.items():
            part = [item for item in part if item["case"] in final]
            about = reader.describe(part, [findings[item["case"]] for item in part]) if part else ""
            print(f"  {name}: {len(part)} cases of {len({i['subject'] for i in part})} subjects", about, sep=", " * bool(part))
            content[name] = [final[item["case"]] for item in part]
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps(content, indent=1))


def _relative(item: dict, root: Path) -> dict:
    """The item with paths relative to the dataset's folder, so that the dataset can be moved together with its datalist."""

    def short(path: str) -> str:
        return os.path.relpath(path, root)

    paths = {
        key: short(item[key]) if isinstance(item[key], str) else [short(p) for p in item[key]]
        for key in ("image", "label")
        if key in item
    }
    if "files" in item:
        paths["files"] = {name: short(path) for name, path in item["files"].items()}
    return {**item, **paths}
