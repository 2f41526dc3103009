"""`prepare`: read a dataset on disk, check it, split it by subject, write a datalist."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import random
from pathlib import Path

from shared.paths import atomic_write

from . import datasets


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


def split_by_subject(cases: list[dict], seed: int, validation: float, testing: float) -> dict[str, list[dict]]:
    """Shuffle the subjects with `seed` and deal their cases into training, validation and testing.

    A subject's cases stay together. Each share above 0 gets at least one subject, training the rest.
    """
    subjects = sorted({item["subject"] for item in cases})
    random.Random(seed).shuffle(subjects)
    number = {
        name: max(1, round(share * len(subjects))) if share else 0
        for name, share in (("testing", testing), ("validation", validation))
    }
    if len(subjects) <= sum(number.values()):
        raise ValueError(f"{len(subjects)} subjects are too few for testing {testing} and validation {validation}")
    ends = {"testing": number["testing"], "validation": sum(number.values())}
    parts = {
        "training": set(subjects[ends["validation"] :]),
        "validation": set(subjects[ends["testing"] : ends["validation"]]),
        "testing": set(subjects[: ends["testing"]]),
    }
    return {name: [item for item in cases if item["subject"] in part] for name, part in parts.items()}


def prepare(
    dataset: str,
    directory: str,
    output: str | None = None,
    seed: int = 0,
    validation: float = 0.1,
    testing: float = 0.2,
    bias_field: str | None = None,
    workers: int = 2,
) -> None:
    """Check a dataset and write its datalist; prints counts and every problem. Cases with a problem are left out.

    Args:
        dataset: brats, ... (a module of tools/datasets).
        directory: the dataset's folder, which becomes --dataset_dir of the bundle.
        output: the datalist; by default datalist.json in that folder.
        seed: of the split.
        validation: share of the subjects.
        testing: share of the subjects.
        bias_field: a folder for N4-corrected copies, which the datalist then names (needs the extra `n4`).
        workers: processes for checking and correction.
    """
    reader = load(datasets, dataset)
    root = Path(directory).expanduser().resolve()
    cases = reader.read(str(root))
    problems, present = reader.check_all(cases, workers)
    for case, found in problems.items():
        print("\n".join(f"PROBLEM {case}: {text}" for text in found))
    unlabelled = [item["case"] for item in cases if "label" not in item and item["case"] not in problems]
    if unlabelled:
        print(f"without label, left out: {', '.join(unlabelled)}")
    good = [item for item in cases if item["case"] not in problems and "label" in item]
    print(
        f"{len(cases)} cases of {len({i['subject'] for i in cases})} subjects: {len(good)} good, "
        f"{len(unlabelled)} without label, {len(problems)} with problems"
    )
    print("label values (cases that have them):", ", ".join(f"{v:g} ({n})" for v, n in sorted(present.items())))
    sections = split_by_subject(good, seed, validation, testing)
    if bias_field is not None:
        from .bias_field import correct_cases

        corrected = {c["case"]: c for c in correct_cases(good, root, Path(bias_field).expanduser().resolve(), workers)}
        sections = {n: [corrected[c["case"]] for c in part if c["case"] in corrected] for n, part in sections.items()}
    path = Path(output).expanduser() if output else root / "datalist.json"
    text = json.dumps(
        {"dataset": dataset, "seed": seed, **{n: [_relative(i, root) for i in s] for n, s in sections.items()}},
        indent=1,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(text)
    print(", ".join(f"{len(s)} {n}" for n, s in sections.items()), f"-> {path}")


def _relative(item: dict, root: Path) -> dict:
    """The item with paths relative to the dataset's folder, so that the dataset can be moved together with its datalist."""

    def short(path: str) -> str:
        return os.path.relpath(path, root)

    paths = {
        key: short(item[key]) if isinstance(item[key], str) else [short(p) for p in item[key]]
        for key in ("image", "label")
        if key in item
    }
    return {**item, **paths}
