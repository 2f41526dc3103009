"""Read a BraTS release (2020, 2021, 2023, or Task01 of the Medical Segmentation Decathlon) into a checked datalist."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from shared.data import find_cases
from shared.transforms import LoadCased, check_image, check_same_grid

NEEDS = "label"  # the key that training needs of a case
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
        item |= {key: os.path.abspath(path.parent / entry[key]) for key in ("image", "label") if key in entry}
        cases.append(item)
    return cases


def check(
    item: dict, sequences: Sequence[str] = SEQUENCES, known: Mapping[str, Sequence[int]] = LABELS
) -> tuple[list[str], Counter]:
    """Read every file of a case and look for whatever would stop a training.

    Args:
        item: as `read` lists it.
        sequences: that a case may have.
        known: the label values of each convention.

    Returns:
        the problems found (empty for a good case), and how many voxels each label value has.
    """
    counts: Counter = Counter()
    if "problem" in item:
        return [item["problem"]], counts
    problems: list[str] = []
    reader, first = LoadCased(sequences), None
    dimensions = 4 if isinstance(item["image"], str) else 3
    files = [item["image"]] if dimensions == 4 else item["image"]
    for path in [*files, *([item["label"]] if "label" in item else [])]:
        try:
            if path == item.get("label"):
                image = reader.read(path)
                values, numbers = np.unique(image.numpy(), return_counts=True)
                counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
                unknown = [f"{value:g}" for value in values if value not in known[item["convention"]]]
                if unknown:
                    expected = f"expected {tuple(known[item['convention']])} ({item['convention']})"
                    raise ValueError(f"{path}: label values {unknown}, {expected}")
            else:
                image = reader.read(path, dimensions)
                for channel in image:
                    check_image(channel, path)
                if dimensions == 4 and len(image) != len(item["channels"]):
                    raise ValueError(f"{path}: {len(image)} channels, expected {len(item['channels'])}")
            first = first or (image, path)
            check_same_grid(image, path, *first)
        except ValueError as error:
            problems.append(str(error))
    return problems, counts


def describe(cases: Sequence[dict], counts: Sequence[Counter]) -> str:
    """In how many of some cases each label value occurs, for a line of text; `counts` is what `check` found in each."""
    present = Counter(value for count in counts for value in count if value)
    return "label values (cases) " + ", ".join(f"{value:g} ({number})" for value, number in sorted(present.items()))
