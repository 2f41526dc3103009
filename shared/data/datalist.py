"""Datalists: JSON files that name the cases of each split, written by `python -m tools prepare`."""

from __future__ import annotations

import json
import os
from pathlib import Path

from monai.data import load_decathlon_datalist

from ..errors import InputError


def read_datalist(datalist: str | os.PathLike, section: str, dataset_dir: str | os.PathLike) -> list[dict]:
    """Read one split of a datalist in the form of the Medical Segmentation Decathlon.

    Args:
        datalist: the JSON file.
        section: "training", "validation" or "testing".
        dataset_dir: folder that the file's relative paths start from.

    Returns:
        one dict a case, "image" and "label" with whole paths.

    Raises:
        InputError: there is no such file, it is not JSON, it has no cases under that section, or a case's file is not there.
    """
    if not Path(datalist).is_file():
        raise InputError(
            f"no datalist {datalist}: write it with `python -m tools prepare DATASET {dataset_dir}`, "
            "or name yours with --datalist"
        )
    try:
        content = json.loads(Path(datalist).read_text())
    except json.JSONDecodeError as error:
        raise InputError(f"{datalist} is not JSON: {error}") from None
    if not content.get(section):
        raise InputError(f"{datalist} has no cases under '{section}'; found {sorted(k for k in content if content[k])}")
    items = load_decathlon_datalist(str(datalist), is_segmentation=True, data_list_key=section, base_dir=str(dataset_dir))
    for item in items:
        for key in ("image", "label"):
            for file in [item[key]] if isinstance(item.get(key), str) else item.get(key) or []:
                if not Path(file).is_file():
                    raise InputError(f"{datalist} names {file}, which is not there; is dataset_dir right?")
    return items
