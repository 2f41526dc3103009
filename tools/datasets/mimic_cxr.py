"""Read MIMIC-CXR-JPG with the reports of MIMIC-CXR: PA films as JPEG, free text, the official split."""

from __future__ import annotations

import csv
import gzip
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from shared.data.prompts import report_sentences
from shared.errors import InputError
from shared.paths import atomic_write

from .nih import check

__all__ = ["NEEDS", "check", "describe", "read", "resized"]

NEEDS = "sentences"  # the key that training needs of a case
METADATA, SPLIT_TABLE = "mimic-cxr-2.0.0-metadata.csv", "mimic-cxr-2.0.0-split.csv"
SECTIONS = {"train": "training", "validate": "validation", "test": "testing"}
VIEW = "PA"
SHORTEST = 512  # pixels of a copy's shorter side


def read(directory: str) -> list[dict]:
    """List the posteroanterior films with the sentences of their reports.

    Returns:
        one dict a film: "case" (dicom_id), "subject", "image", "section" (of the official split), "view", and where the
        report has them "sentences" (of FINDINGS and IMPRESSION). "problem" (text): the film is absent, or not in the split.
        "notes" (texts): the report is absent, or has neither section.

    Raises:
        InputError: no such folder, a table is not there, or one without the columns.
    """
    root = Path(directory).expanduser().absolute()
    split = {row["dicom_id"]: row["split"] for row in _rows(root, SPLIT_TABLE, ("dicom_id", "split"))}
    cases = []
    told = ("dicom_id", "subject_id", "study_id", "ViewPosition")
    for row in tqdm(_rows(root, METADATA, told), desc="reports", unit="film", delay=2):
        if row["ViewPosition"] != VIEW:
            continue
        patient = root / "files" / f"p{row['subject_id'][:2]}" / f"p{row['subject_id']}"
        image, report = patient / f"s{row['study_id']}" / f"{row['dicom_id']}.jpg", patient / f"s{row['study_id']}.txt"
        item = {"case": row["dicom_id"], "subject": row["subject_id"], "image": str(image), "view": VIEW, "notes": []}
        section = split.get(row["dicom_id"])
        if section not in SECTIONS:
            item["problem"] = f"{root / SPLIT_TABLE}: split of {row['dicom_id']} is '{section}', expected {', '.join(SECTIONS)}"
        elif not image.is_file():
            item["problem"] = f"no such file {image}"
        else:
            item["section"] = SECTIONS[section]
        try:
            item["sentences"] = report_sentences(report.read_text(encoding="utf-8", errors="replace"))
        except (OSError, ValueError) as error:
            item["notes"].append(f"{report}: {error}")
        cases.append(item)
    if not cases:
        raise InputError(f"{root / METADATA}: no film with ViewPosition {VIEW}")
    return sorted(cases, key=lambda item: item["case"])


def _rows(root: Path, name: str, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Rows of a table, which may be compressed."""
    path = next((path for path in (root / name, root / f"{name}.gz") if path.is_file()), None)
    if path is None:
        found = ", ".join(sorted(p.name for p in root.iterdir())[:10]) if root.is_dir() else "no such folder"
        raise InputError(f"{root}: no {name} or {name}.gz; found {found or 'nothing'}")
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        reader = csv.DictReader(file)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path}: no column {', '.join(missing)}; found {', '.join(reader.fieldnames or ())}")
        yield from reader


def describe(cases: Sequence[dict], findings: Sequence[None]) -> str:
    """How many sentences the reports have, for a line of text."""
    counts = Counter(min(len(item.get("sentences", ())), 10) for item in cases)
    return f"{sum(k * n for k, n in counts.items()) / len(cases):.1f} sentences a film (10 counted at most)"


def resized(item: dict, folder: Path) -> dict:
    """Write a copy whose shorter side has 512 pixels, as PNG; the item with that file. A finished one is left alone."""
    path = folder / f"{item['case']}.png"
    if not path.is_file():
        with Image.open(item["image"]) as film:
            grey = film.convert("L")
        scale = SHORTEST / min(grey.size)
        if scale < 1:
            grey = grey.resize([round(side * scale) for side in grey.size], Image.Resampling.LANCZOS)
        with atomic_write(path) as temporary:
            grey.save(temporary)
    return {**item, "image": os.fspath(path)}
