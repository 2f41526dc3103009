"""Read MRBrainS13 (T1, T1-IR and FLAIR of five labelled heads, and of some without labels) into a checked datalist."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from shared.data import find_cases
from shared.transforms import LoadCased, check_image, check_same_grid

from .brats import describe

__all__ = ["NEEDS", "check", "describe", "read"]

NEEDS = "label"  # the key that training needs of a case
ENDINGS = {"t1": ["t1"], "t1_ir": ["t1_ir"], "flair": ["t2_flair", "flair"]}
# file of each kind of label map, best first, and the values in it
LABELS = {"mrbrains_training": ("LabelsForTraining", range(9)), "mrbrains_testing": ("LabelsForTesting", range(4))}


def read(directory: str) -> list[dict]:
    """List the heads below a folder, each a folder with some of T1, T1_IR and T2_FLAIR in it.

    Returns:
        one dict a case: "case" and "subject" (TrainingData_1), "image" (the files in the order T1, T1-IR, FLAIR), "channels"
        where some are missing, and where there is a label map "label" and "convention". LabelsForTraining, with its eight
        structures, is preferred to LabelsForTesting.

    Raises:
        InputError: no such folder, or no image in it.
    """
    root = Path(directory).expanduser().resolve()
    cases = find_cases(root, ENDINGS, partial=True)
    for item in cases:
        folder = Path(item["image"][0]).parent
        item["case"] = item["subject"] = "_".join(folder.relative_to(root).parts[-2:]) or item["case"]
        if "channels" in item:
            missing = [name for name in ENDINGS if name not in item["channels"]]
            item["notes"] = [f"{folder}: no {' and no '.join(missing)}"]
        for convention, (name, _) in LABELS.items():
            files = sorted(folder.glob(f"{name}.nii*"))
            if files and "label" not in item:
                item |= {"label": str(files[0]), "convention": convention}
    return cases


def check(item: dict) -> tuple[list[str], Counter]:
    """Read every file of a case and look for whatever would stop a training.

    Returns:
        the problems found (empty for a good case), and how many voxels each label value has.
    """
    counts: Counter = Counter()
    if "problem" in item:
        return [item["problem"]], counts
    reader, first, problems = LoadCased(ENDINGS), None, []
    for path in [*item["image"], *([item["label"]] if "label" in item else [])]:
        try:
            image = reader.read(path)
            first = first or (image, path)
            check_same_grid(image, path, *first)
            if path == item.get("label"):
                values, numbers = np.unique(image.numpy(), return_counts=True)
                known = LABELS[item["convention"]][1]
                unknown = [f"{value:g}" for value in values if value not in known]
                if unknown:
                    raise ValueError(f"{path}: label values {unknown}, expected {known.start} to {known.stop - 1}")
                counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
            else:
                check_image(image, path)
        except ValueError as error:
            problems.append(str(error))
    return problems, counts
