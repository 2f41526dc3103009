"""Read a BraTS release (2020, 2021, 2023, or Task01 of the Medical Segmentation Decathlon) into a checked datalist."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
from tqdm import tqdm

from shared.data import find_cases

SEQUENCES = ("t1ce", "t1", "t2", "flair")
ENDINGS = {"t1ce": ["t1ce", "t1c", "t1gd"], "t1": ["t1", "t1n"], "t2": ["t2", "t2w"], "flair": ["flair", "t2f"]}
LABEL_ENDINGS = ["seg", "segm"]
LABELS = {"brats2020": (0, 1, 2, 4), "brats2023": (0, 1, 2, 3), "msd": (0, 1, 2, 3)}
DECATHLON_CHANNELS = {"flair": "flair", "t1w": "t1", "t1gd": "t1ce", "t2w": "t2"}


def subject_of(case: str) -> str:
    """The person a case is of: BraTS 2023 numbers a person's time points (`BraTS-GLI-00005-001`), the others do not."""
    match = re.fullmatch(r"(BraTS-[A-Za-z]+-\d+)-\d+", case)
    return match[1] if match else case


def read(directory: str) -> list[dict]:
    """List all cases with absolute paths: "case", "subject", "image", "convention", where known "label" and "problem"."""
    root = Path(directory).expanduser()
    decathlon = sorted(p for p in (root / "dataset.json", *root.glob("*/dataset.json")) if p.is_file())
    cases = _read_decathlon(decathlon[0]) if decathlon else find_cases(root, ENDINGS, label=LABEL_ENDINGS)
    for item in cases:
        item["subject"] = subject_of(item["case"])
        if not decathlon:
            item["convention"] = "brats2023" if item["case"].startswith("BraTS-") else "brats2020"
            _find_odd_label(item)
    return cases


def _find_odd_label(item: dict) -> None:
    """Case 355 of BraTS 2020 has its label under a name of its own, `W39_1998.09.19_Segm.nii`."""
    if "label" not in item and item["image"]:
        odd = list(Path(item["image"][0]).parent.glob("*_[Ss]egm.nii*"))
        if len(odd) == 1:
            item["label"] = str(odd[0])


def _read_decathlon(path: Path) -> list[dict]:
    content = json.loads(path.read_text())
    modality = [content["modality"][key].lower() for key in sorted(content["modality"], key=int)]
    unknown = [name for name in modality if name not in DECATHLON_CHANNELS]
    if unknown:
        raise ValueError(f"{path}: unknown modality {unknown[0]}, expected {', '.join(DECATHLON_CHANNELS)}")
    channels = [DECATHLON_CHANNELS[name] for name in modality]
    entries = content.get("training", []) + [{"image": e} if isinstance(e, str) else e for e in content.get("test", [])]
    cases = []
    for entry in entries:
        item = {"case": Path(entry["image"]).name.split(".")[0], "channels": channels, "convention": "msd"}
        item |= {key: str((path.parent / entry[key]).resolve()) for key in ("image", "label") if key in entry}
        cases.append(item)
    return cases


def check(item: dict) -> tuple[list[str], Counter]:
    """Open every file of a case: headers for the grid, voxels of the label map.

    Returns:
        the problems found (empty for a good case), and how many voxels each label value has.
    """
    if "problem" in item:
        return [item["problem"]], Counter()
    problems: list[str] = []
    files = [item["image"]] if isinstance(item["image"], str) else list(item["image"])
    first = None
    for path in files + ([item["label"]] if "label" in item else []):
        try:
            image = nib.load(path)
            # a truncated .gz has a fine header: only reading the last slice tells
            np.asanyarray(image.dataobj[..., -1])
        except Exception as error:
            problems.append(f"{path}: not readable ({type(error).__name__}: {str(error)[:120]})")
            continue
        wanted = 4 if isinstance(item["image"], str) and path == item["image"] else 3
        if image.ndim != wanted:
            problems.append(f"{path}: shape {image.shape}, expected {wanted} dimensions")
            continue
        if wanted == 4 and image.shape[3] != len(item["channels"]):
            problems.append(f"{path}: {image.shape[3]} channels, expected {len(item['channels'])}")
        first = first or (path, image)
        if image.shape[:3] != first[1].shape[:3]:
            problems.append(f"{path}: shape {image.shape[:3]} differs from {first[1].shape[:3]} of {first[0]}")
        elif not np.allclose(image.affine, first[1].affine, atol=1e-2):
            problems.append(f"{path}: affine differs from that of {first[0]}")
    counts: Counter = Counter()
    if "label" in item and not problems:
        values, numbers = np.unique(np.asanyarray(nib.load(item["label"]).dataobj), return_counts=True)
        counts.update(dict(zip((float(v) for v in values), (int(n) for n in numbers), strict=True)))
        unknown = [v for v in counts if v not in LABELS[item["convention"]]]
        if unknown:
            problems.append(
                f"{item['label']}: label values {[f'{v:g}' for v in unknown]}, "
                f"expected {LABELS[item['convention']]} ({item['convention']})"
            )
    return problems, counts


def check_all(cases: list[dict]) -> tuple[dict[str, list[str]], Counter]:
    """`check` every case with a progress bar; problems by case, and in how many cases each label value occurs."""
    problems, present = {}, Counter()
    for item in tqdm(cases, desc="check", unit="case"):
        found, counts = check(item)
        if found:
            problems[item["case"]] = found
        present.update(value for value in counts if value)
    return problems, present
