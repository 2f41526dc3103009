"""Read the COVID-19 image repository of Hannover Medical School: data.csv and a folder of PNG films."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path

from shared.data.films import PICTURES, film_files
from shared.data.table import read_table
from shared.errors import InputError

from .nih import check, describe

__all__ = ["NEEDS", "SPLIT", "check", "describe", "read", "strata"]

NEEDS = "findings"  # the key that training needs of a case
SPLIT = {"seed": 42, "testing": 0.2}
TABLE = "data.csv"
FIELDS = {"patient": ("patient_id",), "file": ("image_id",), "sex": ("sex",), "age": ("age",), "view": ("projection",)}


def read(directory: str) -> list[dict]:
    """List the films that the table names; every one shows a patient with COVID-19, whether the film tells or not.

    Returns:
        one dict a film: "case" (image_id), "subject", "image", "class", "findings" (["COVID-19"]), "sex", "age", "view" (text).
        "problem" (text): the table names an absent file.

    Raises:
        InputError: no such folder, no table in it, or one without the columns.
    """
    root = Path(directory).expanduser().absolute()
    if not (root / TABLE).is_file():
        raise InputError(f"{root}: no table {TABLE}")
    files = {path.stem: path for path in film_files(root) if path.suffix.lower() in PICTURES}
    cases = []
    for row in read_table(root / TABLE, FIELDS, ("patient", "file")):
        cells = row.cells
        name = cells["file"]
        item = {"case": name, "subject": cells["patient"], "image": str(files.get(name, name)), "class": "COVID-19"}
        item |= {"findings": ["COVID-19"], "age": cells.get("age", ""), "view": cells.get("view", "").upper()}
        item["sex"] = {"m": "M", "f": "F", "w": "F"}.get(cells.get("sex", "").lower(), "")
        if row.problem or name not in files:
            item["problem"] = row.problem or f"{row.place}: no such film {name}"
        cases.append(item)
    return sorted(cases, key=lambda item: item["case"])


def strata(cases: Sequence[dict]) -> list[Hashable]:
    """The group of each film that a split deals out evenly: its view."""
    return [item.get("view") for item in cases]
