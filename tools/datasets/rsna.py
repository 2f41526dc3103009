"""Read the RSNA pneumonia challenge: DICOM films, stage_2_train_labels.csv, stage_2_detailed_class_info.csv."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path

from tqdm import tqdm

from shared.data.film_files import TAGS, read_header
from shared.data.table import Row, read_table
from shared.errors import InputError

from .nih import check, describe

__all__ = ["CLASSES", "NEEDS", "SPLIT", "check", "describe", "read", "strata"]

NEEDS = "target"  # the key that training needs of a case
SPLIT = {"seed": 42, "testing": 0.25}
IMAGES, LABELS, INFO = "stage_2_train_images", "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
CLASSES = ("Normal", "No Lung Opacity / Not Normal", "Lung Opacity")


def read(directory: str) -> list[dict]:
    """List the films with their labels: the rows of a patient in both tables become one case.

    Returns:
        one dict a patient: "case" and "subject" (patientId), "image", of the tables "class" (of CLASSES) and "target" (1: lung
        opacity), of the DICOM header "age", "sex", "view" (text). "problem" (text): the tables contradict each other or
        themselves, a row names an absent file, a SOP instance is there twice. "notes" (texts): a film without row.

    Raises:
        InputError: no such folder, a table or the folder of films is not there, or a table lacks a column.
    """
    root = Path(directory).expanduser().absolute()
    for name in (IMAGES, LABELS, INFO):
        if not (root / name).exists():
            found = ", ".join(sorted(p.name for p in root.iterdir())[:10]) if root.is_dir() else "no such folder"
            raise InputError(f"{root}: no {name}; found {found or 'nothing'}")
    targets = _rows(root / LABELS, {"id": ("patientid",), "value": ("target",)})
    classes = _rows(root / INFO, {"id": ("patientid",), "value": ("class",)})
    files = {path.stem: path for path in sorted((root / IMAGES).glob("*.dcm"))}
    cases, instances = [], {}
    for name in tqdm(sorted({*targets, *classes, *files}), desc="headers", unit="film", delay=2):
        item: dict = {"case": name, "subject": name, "image": str(files.get(name, root / IMAGES / f"{name}.dcm"))}
        cases.append(item)
        problem = _join(item, targets.get(name, []), classes.get(name, []), str(root / LABELS))
        if name not in files:
            rows = [*targets.get(name, []), *classes.get(name, [])]
            problem = f"{rows[0].place}: no such file {item['image']}"
        elif not problem:
            problem = _header(item, instances)
        if problem:
            item["problem"] = problem
    return cases


def _rows(path: Path, fields: dict) -> dict[str, list[Row]]:
    rows = defaultdict(list)
    for row in read_table(path, fields, ("id", "value")):
        rows[row.cells["id"]].append(row)
    return rows


def _join(item: dict, targets: Sequence[Row], classes: Sequence[Row], labels: str) -> str:
    """Put class and target into the item; what is wrong with the rows, "" where nothing is."""
    told = {row.cells["value"] for row in targets}
    names = {row.cells["value"] for row in classes}
    place = (*targets, *classes)[0].place if targets or classes else labels
    if not targets and not classes:
        item["notes"] = [f"{item['image']}: no row in {labels}"]
        return ""
    if len(told) > 1 or len(names) > 1:
        return f"{place}: the rows of {item['case']} contradict each other: {', '.join(sorted(told | names))}"
    if not targets or not classes:
        return f"{place}: {item['case']} is in one of the two tables only"
    (target,), (name,) = told, names
    if target not in ("0", "1") or name not in CLASSES or (target == "1") != (name == CLASSES[2]):
        return f"{place}: target '{target}' with class '{name}', expected 0 or 1 and one of {', '.join(CLASSES)}"
    item |= {"class": name, "target": int(target)}
    return ""


def _header(item: dict, instances: dict[str, str]) -> str:
    """Put the tags into the item; what is wrong with the file, "" where nothing is."""
    try:
        header = read_header(item["image"])
    except ValueError as error:
        return str(error)
    item |= {key: str(header.get(name) or "").strip() for key, name in TAGS.items()}
    uid = str(header.get("SOPInstanceUID") or item["image"])
    if uid in instances:
        return f"{item['image']}: the same SOP instance as {instances[uid]}"
    instances[uid] = item["image"]
    return ""


def strata(cases: Sequence[dict]) -> list[Hashable]:
    """The group of each film that a split deals out evenly: its class and its view."""
    return [(item["class"], item["view"]) for item in cases]
