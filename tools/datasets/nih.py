"""Read NIH ChestX-ray14: PNG films with Data_Entry_2017.csv, or part of them with a table of the same columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np

from shared.data.film_files import read_picture
from shared.data.films import FIELDS as PERSON
from shared.data.films import film_files, row_item
from shared.data.table import Row, read_table
from shared.errors import InputError
from shared.transforms import LoadFilmd

from ..films import write_film

NEEDS = "target"  # the key that training needs of a case
SPLIT = {"seed": 42, "testing": 0.25}
TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv", "metadata.csv")
FIELDS = {
    **PERSON,
    "labels": ("finding labels",),
    "bytes": ("bytes",),
    # the release's own header splits two names at a comma: OriginalImage[Width,Height] and ...PixelSpacing[x,y]
    "width": ("originalimage[width", "originalimagewidth"),
    "height": ("height]", "originalimageheight"),
    "x": ("originalimagepixelspacing[x", "originalimagepixelspacing_x"),
    "y": ("y]", "originalimagepixelspacing_y"),
}
CLASSES = ("Normal", "No Pneumonia / Not Normal", "Pneumonia")


def read(directory: str) -> list[dict]:
    """List the films that a table in the topmost folder names.

    NIH squeezed every film into a square: a circle on a film of 2500 x 2048 pixels is an ellipse in its PNG. The original size
    in mm restores it.

    Returns:
        one dict a film: "case" (the file's stem), "subject", "image", "class" (of CLASSES), "target" (1: pneumonia),
        "findings" (texts), "age", "sex", "view" (text), where known "extent" (mm, height and width of the film), "bytes" (of
        the PNG). "problem" (text): the table names an absent file, or a file twice with different words. "notes" (texts):
        other oddities.

    Raises:
        InputError: no such folder, no table in it, or one without the columns.
    """
    root = Path(directory).expanduser().absolute()
    table = next((root / name for name in TABLES if (root / name).is_file()), None)
    if table is None:
        raise InputError(f"{root}: no table, expected one of {', '.join(TABLES)}")
    files = {path.name: path for path in film_files(root) if path.suffix.lower() != ".dcm"}
    cases: dict[str, dict] = {}
    for row in read_table(table, FIELDS, ("file", "patient", "labels")):
        item = _case(row, files)
        other = cases.setdefault(item["case"], item)
        if other is not item:
            same = all(other.get(key) == item.get(key) for key in ("subject", "class", "age", "sex", "view"))
            text = f"{row.place}: repeats an earlier row of {item['case']}"
            if same:
                other["notes"].append(text)
            else:
                other.setdefault("problem", f"{text} with other words")
    unnamed = sorted(files.keys() - {Path(item["image"]).name for item in cases.values()})
    if unnamed:
        print(f"NOTE {len(unnamed)} files without a row in {table}: {', '.join(unnamed[:5])}")
    return sorted(cases.values(), key=lambda item: item["case"])


def _case(row: Row, files: dict[str, Path]) -> dict:
    cells = row.cells
    path = files.get(Path(cells["file"]).name)
    labels = {label.strip().casefold() for label in cells["labels"].split("|")}
    sick = "pneumonia" in labels
    item = {"case": Path(cells["file"]).stem, "subject": cells["patient"], "image": str(path or cells["file"]), "notes": []}
    item |= {key: value for key, value in row_item(row).items() if key != "patient"}
    item |= {"class": CLASSES[2 if sick else 0 if labels == {"no finding"} else 1], "target": int(sick)}
    item["findings"] = [] if labels == {"no finding"} else sorted(labels)
    try:
        item["extent"] = [float(cells["height"]) * float(cells["y"]), float(cells["width"]) * float(cells["x"])]
    except (KeyError, ValueError):
        item["notes"].append(f"{row.place}: no original size and pixel spacing")
    if path is None:
        item["problem"] = f"{row.place}: no such file {cells['file']}"
    else:
        item["bytes"] = int(cells.get("bytes") or path.stat().st_size)
    if row.problem or not cells["patient"]:
        item.setdefault("problem", row.problem or f"{row.place}: no patient")
    return item


def check(item: dict) -> tuple[list[str], None]:
    """Read a film; the problems found, and nothing else."""
    if "problem" in item:
        return [item["problem"]], None
    try:
        LoadFilmd()(item)
    except ValueError as error:
        return [str(error)], None
    return [], None


def describe(cases: Sequence[dict], findings: Sequence[None]) -> str:
    """Classes and views of films, for a line of text."""
    counts = Counter(item["class"] for item in cases) + Counter(item.get("view") or "view unknown" for item in cases)
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))


def strata(cases: Sequence[dict]) -> list[Hashable]:
    """The group of each film that a split deals out evenly: its class and its view."""
    return [(item["class"], item.get("view")) for item in cases]


def to_dicom(item: dict, folder: Path) -> dict:
    """Write a film as lossless JPEG in DICOM with its tags; the item with that file. A finished one is left alone."""
    path = folder / f"{item['case']}.dcm"
    if not path.is_file():
        pixels = np.rint(read_picture(item["image"])).astype(np.uint8)
        spacing = tuple(mm / n for mm, n in zip(item["extent"], pixels.shape, strict=True)) if "extent" in item else None
        age = str(item.get("age") or "")
        tags = {"PatientID": item["subject"], "PatientSex": item.get("sex") or "", "ViewPosition": item.get("view") or ""}
        tags |= {"PatientAge": f"{int(age):03d}Y"} if age.isdigit() and int(age) < 1000 else {}
        write_film(path, pixels, f"nih {item['case']}", spacing, tags, "lossless")
    told = ("age", "sex", "view", "extent")  # by the file now
    return {**{key: value for key, value in item.items() if key not in told}, "image": str(path)}
