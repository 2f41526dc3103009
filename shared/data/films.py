"""Find radiographs below a folder, and how many of a dataset show the disease."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ..errors import InputError
from .film_files import is_dicom, read_header
from .table import Row, read_table

PICTURES = (".png", ".jpg", ".jpeg")
FIELDS = {  # of a table beside PNG and JPEG files, by the names that columns may have
    "file": ("file", "image index", "image", "filename", "path"),
    "patient": ("patient id", "patientid", "patient", "subject"),
    "age": ("patient age", "patientage", "age"),
    "sex": ("patient gender", "patient sex", "patientsex", "sex", "gender"),
    "view": ("view position", "viewposition", "view"),
    "spacing": ("pixelspacing", "pixel spacing", "spacing"),
}

logger = logging.getLogger(__name__)


def film_files(root: Path) -> list[Path]:
    """DICOM, PNG and JPEG files below a folder, sorted, without hidden ones; files without suffix count if they are DICOM.

    Raises:
        InputError: `root` is no folder, or there is none in it.
    """
    if not root.is_dir():
        raise InputError(f"dataset_dir is '{root}', which is not a folder")
    found = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(folder) / name for name in sorted(files) if not name.startswith(".") and name != "DICOMDIR"):
            suffix = path.suffix.lower()
            # names that are UIDs have a last part of digits in place of a suffix
            bare = not suffix or suffix[1:].isdigit()
            if suffix in (*PICTURES, ".dcm", ".dicom") or (bare and is_dicom(path)):
                found.append(path)
    if not found:
        raise InputError(f"no radiograph below {root}: looked for DICOM, .png and .jpg files")
    return found


def find_films(dataset_dir: str | os.PathLike, table: str | os.PathLike | None = None) -> list[dict]:
    """List the radiographs below a folder, each a case.

    Args:
        dataset_dir: folder that is searched, with its subfolders.
        table: a .csv with a row per file and what DICOM would say: columns file, patient, age, sex, view, spacing (mm, or
            height and width as "0.2 0.2"); names of the RSNA and NIH releases are understood. It counts before the tags.

    Returns:
        one dict a case: "case" (the path below `dataset_dir` without suffix, "/" as "_"), "image" (its file), "file" (the
        path below `dataset_dir`), of a table "patient", "age", "sex", "view", "spacing". A "problem" (text) where a SOP
        instance is there twice.

    Raises:
        InputError: no folder, no radiograph in it; the table cannot be read.
    """
    root = Path(dataset_dir).expanduser()
    rows = _rows(Path(table).expanduser()) if table else {}
    cases, instances = [], {}
    for path in tqdm(film_files(root), desc="find", unit="film", delay=2):
        relative = path.relative_to(root).as_posix()
        name = relative.removesuffix(path.suffix) if path.suffix.lower() in (*PICTURES, ".dcm", ".dicom") else relative
        item = {"case": name.replace("/", "_"), "image": str(path), "file": relative}
        row = rows.pop(path.name, None) or rows.pop(relative, None) or rows.pop(path.stem, None)
        item |= row[1] if row else {}
        if is_dicom(path):
            uid = _instance(path)
            if uid and uid in instances:
                item["problem"] = f"{path}: the same SOP instance as {instances[uid]}, left out"
            instances.setdefault(uid, path)
        cases.append(item)
    if rows:
        logger.warning(f"{table}: {len(rows)} rows name files that are not below {root}, such as {', '.join([*rows][:3])}")
    names = [item["case"] for item in cases]
    for item in cases:  # a film as DICOM and as PNG under one name
        item["case"] = item["file"].replace("/", "_") if names.count(item["case"]) > 1 else item["case"]
    return cases


def _instance(path: Path) -> str:
    try:
        return str(read_header(path).get("SOPInstanceUID") or "")
    except ValueError:  # reading the case will say so
        return ""


def _rows(path: Path) -> dict[str, tuple[str, dict]]:
    if not path.is_file():
        raise InputError(f"no table {path}: expected a .csv with a row per file")
    return {row.cells["file"]: (row.place, row_item(row)) for row in read_table(path, FIELDS, ("file",)) if row.cells["file"]}


def row_item(row: Row) -> dict:
    """What a row of FIELDS says, as the entries of an item."""
    item: dict = {key: row.cells[key] for key in ("patient", "age", "sex", "view") if key in row.cells}
    numbers = [float(part) for part in re.findall(r"\d*\.?\d+", row.cells.get("spacing", ""))]
    if numbers:
        item["spacing"] = [numbers[0], numbers[-1]]
    return item


def negatives_per_positive(cases: Sequence[dict], key: str = "target") -> float:
    """How many cases without the disease there are for each with it: the weight of a positive in a balanced loss.

    Cases that do not say are left out; 1 where none does, since loading one then says what is wrong.

    Raises:
        InputError: there are not both.
    """
    told = [item[key] for item in cases if key in item]
    positive = sum(value == 1 for value in told)
    if told and not 0 < positive < len(told):
        raise InputError(f"{positive} of {len(told)} training cases have {key} 1, expected some with and some without")
    return (len(told) - positive) / positive if told else 1.0
