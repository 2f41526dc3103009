"""Datalists: JSON files that name the cases of each split, written by `python -m tools prepare`."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from monai.data import load_decathlon_datalist

from ..errors import InputError

logger = logging.getLogger(__name__)


def read_datalist(
    datalist: str | os.PathLike,
    section: str,
    dataset_dir: str | os.PathLike,
    only: Mapping[str, Sequence] | None = None,
    sequences: Sequence[str] | None = None,
    more: Sequence[str | os.PathLike] = (),
) -> list[dict]:
    """Read one split of a datalist in the form of the Medical Segmentation Decathlon.

    Args:
        datalist: the JSON file.
        section: "training", "validation" or "testing".
        dataset_dir: folder that the file's relative paths start from.
        only: take the cases whose entries have one of these values, `{"series": ["in_phase"]}`.
        sequences: cases whose "files" lack one of these are left out, and the log says so.
        more: further prepared folders, the same section of whose datalist.json is added.

    Returns:
        one dict a case, "image", "label" and "files" (by sequence) with whole paths.

    Raises:
        InputError: there is no such file, it is not JSON, it has no cases under that section, or none with all sequences, or
            a case's file is not there.
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
    items = [item for item in items if {*(sequences or ())} <= {*item.get("files", sequences or ())}]
    if not items:
        raise InputError(f"{datalist} has no case under '{section}' with the sequences {', '.join(sequences or ())}")
    if len(items) < len(content[section]):
        logger.warning(f"{section}: {len(content[section]) - len(items)} cases lack one of {', '.join(sequences or ())}")
    for key, values in (only or {}).items():
        found = sorted({str(item.get(key)) for item in items})
        items = [item for item in items if item.get(key) in values]
        if not items:
            raise InputError(
                f"{datalist} has no case under '{section}' with {key} {', '.join(values)}; found {', '.join(found)}"
            )
    for item in items:
        if "files" in item:
            item["files"] = {name: str(Path(dataset_dir) / file) for name, file in item["files"].items()}
        for named in (item.get("image"), item.get("label"), [*item.get("files", {}).values()]):
            for file in [named] if isinstance(named, str) else named or []:
                if not Path(file).is_file():
                    raise InputError(f"{datalist} names {file}, which is not there; is dataset_dir right?")
    return items + [
        item for folder in more for item in read_datalist(Path(folder) / "datalist.json", section, folder, only, sequences)
    ]
