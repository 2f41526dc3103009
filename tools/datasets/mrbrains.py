"""Read MRBrainS13 (T1, T1-IR and FLAIR of five labelled heads, and of some without labels) into a checked datalist."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from shared.data import find_cases

from . import brats
from .brats import describe

__all__ = ["NEEDS", "check", "describe", "read"]

NEEDS = "label"  # the key that training needs of a case
ENDINGS = {"t1": ["t1"], "t1_ir": ["t1_ir"], "flair": ["t2_flair", "flair"]}
# file of each kind of label map, best first, and the values in it
LABELS = {"mrbrains_training": ("LabelsForTraining", range(9)), "mrbrains_testing": ("LabelsForTesting", range(4))}
check = partial(brats.check, sequences=tuple(ENDINGS), known={name: values for name, (_, values) in LABELS.items()})


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
