"""Read a folder of T1 heads without a table, with label maps where there are any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from shared.data import find_images, image_files
from shared.data.cases import split_name

from .ixi import check, subject_of

__all__ = ["NEEDS", "check", "describe", "read"]

NEEDS = "image"
ENDINGS = ("t1", "t1w")
LABEL_ENDINGS = dict.fromkeys(("label", "labels", "seg", "dlmuse"), "label")


def read(directory: str) -> list[dict]:
    """List the heads below a folder: names that end in t1 or t1w, or all NIfTI files where none does.

    Returns:
        one dict a case: "case", "subject" (what IXI and BIDS names say it is, else the case), "image", and "label" for
        `P7_T1.nii.gz` where there is one `P7_seg.nii.gz` (or _label, _labels, _dlmuse), all absolute paths.

    Raises:
        InputError: no such folder, or no image in it.
    """
    root = Path(directory).expanduser().resolve()
    found = {path: split_name(path.name, LABEL_ENDINGS) for path in image_files(root)}
    maps = [(name[0], str(path)) for path, name in found.items() if name]
    cases = []
    for item in find_images(root, ENDINGS):
        if found[Path(item["image"][0])]:
            continue
        case = {"case": item["case"], "subject": subject_of(item["case"]), "image": item["image"][0]}
        own = [path for name, path in maps if name == item["case"]]
        if len(own) == 1:
            case["label"] = own[0]
        elif own:
            case["notes"] = [f"label maps not used, as there is more than one: {', '.join(own)}"]
        cases.append(case)
    return cases


def describe(cases: Sequence[dict], counts: Sequence[Counter]) -> str:
    """How many of the checked heads have a label map; `counts` is what `check` found in these."""
    return f"{sum(map(bool, counts))} with label map"
