"""Synthetic chest films with reports, with the folders, tables and quirks of MIMIC-CXR-JPG.

The films are those of `phantom rsna`; the reports say what was painted. Good for trying out code; no substitute.
"""

from __future__ import annotations

import csv
import gzip
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from shared.paths import atomic_write

from ..datasets.mimic_cxr import METADATA, SPLIT_TABLE
from ..datasets.rsna import CLASSES
from .rsna import draw_film, paint

SAID = {  # findings and impression
    CLASSES[0]: ("The lungs are clear. The heart is of normal size.", "No acute process."),
    CLASSES[1]: ("The lungs are clear. The heart is enlarged.", "Cardiomegaly."),
    CLASSES[2]: ("There is an opacity in the lung. No pleural effusion.", "Pneumonia."),
}
QUIRKS_FROM = 8  # so many films are needed for a report without sections, one in a single paragraph, and a lateral film


def mimic_cxr(directory: str, cases: int = 12, seed: int = 0, size: int = 1024) -> None:
    """Write a synthetic MIMIC-CXR dataset: films as JPEG, reports, metadata and split as compressed tables.

    From eight films on one report has no sections, one has both in a paragraph, and one film is lateral.

    Args:
        directory: gets the folder files and both tables; existing tables are an error, nothing is overwritten.
        cases: how many films, each of another patient.
        seed: the same seed, size and place in the list give the same film.
        size: pixels of the films' longer side.
    """
    root = Path(directory)
    for name in (METADATA, SPLIT_TABLE):
        if (root / f"{name}.gz").exists():
            raise FileExistsError(f"{root / name}.gz exists already; choose another folder")
    rows, splits = [], []
    for index in tqdm(range(cases), desc="phantom mimic_cxr", unit="film"):
        rng = np.random.default_rng([int(seed), index])
        film = draw_film(rng)
        subject, study = str(10_000_000 + index), str(50_000_000 + int(rng.integers(1_000_000)))
        name = "-".join(uuid.UUID(bytes=rng.bytes(16), version=4).hex[i : i + 8] for i in range(0, 32, 8))
        odd = index if cases >= QUIRKS_FROM else -1
        folder = root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = paint(rng, film, size)[: size * 5 // 6]
        with atomic_write(folder / f"{name}.jpg") as temporary:
            Image.fromarray(pixels).save(temporary, quality=95)
        with atomic_write(folder.with_suffix(".txt")) as temporary:
            temporary.write_text(report(SAID[film.group], odd))
        view = "LATERAL" if odd == 5 else "PA"
        rows.append((name, subject, study, view, *pixels.shape))
        splits.append((name, study, subject, "test" if index % 4 == 3 else "validate" if index % 4 == 2 else "train"))
    _write(root / f"{METADATA}.gz", ("dicom_id", "subject_id", "study_id", "ViewPosition", "Rows", "Columns"), rows)
    _write(root / f"{SPLIT_TABLE}.gz", ("dicom_id", "study_id", "subject_id", "split"), splits)
    print(f"{cases} synthetic films in {root}")


def report(said: tuple[str, str], odd: int) -> str:
    """A report's text; of number 1 without sections, of number 4 with both in one paragraph."""
    findings, impression = said
    head = (
        "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA)\n\n INDICATION:  ___ year old with cough.\n\n"
    )
    if odd == 1:
        return f"{head} {findings} {impression}\n"
    if odd == 4:
        return f"{head} FINDINGS: {findings} IMPRESSION: 1. {impression}\n"
    return f"{head} COMPARISON:  None.\n\n FINDINGS:\n\n {findings}\n\n IMPRESSION:\n\n 1. {impression}\n"


def _write(path: Path, header: Sequence[str], rows: Sequence[tuple]) -> None:
    with atomic_write(path) as temporary, gzip.open(temporary, "wt", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
