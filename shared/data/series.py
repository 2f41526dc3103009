"""Find the series below a folder: folders of DICOM files, and NIfTI volumes."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InputError
from .cases import NIFTI
from .film_files import is_dicom


def series_files(folder: str | os.PathLike) -> list[Path]:
    """The DICOM files of a folder itself, sorted by name, without hidden ones and DICOMDIR."""
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith("."))
    paths = [Path(folder) / name for name in names if name != "DICOMDIR"]
    # names that are UIDs have a last part of digits in place of a suffix
    return [p for p in paths if p.suffix.lower() in (".dcm", ".ima", ".dicom") or (_bare(p.suffix) and is_dicom(p))]


def _bare(suffix: str) -> bool:
    return not suffix or suffix[1:].isdigit()


def find_series(dataset_dir: str | os.PathLike) -> list[dict]:
    """List the series below a folder, each a case: every folder with DICOM files is one, every NIfTI file is one.

    Returns:
        one dict a case: "case" (the path below `dataset_dir`, "/" as "_"), "image" (the list of DICOM files, or of one NIfTI
        file), in the order of names.

    Raises:
        InputError: `dataset_dir` is no folder, or there is no series in it.
    """
    root = Path(dataset_dir).expanduser()
    if not root.is_dir():
        raise InputError(f"dataset_dir is '{root}', which is not a folder")
    cases = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = Path(folder).relative_to(root)
        dicom = series_files(folder)
        if dicom:
            cases.append({"case": "_".join(relative.parts) or root.resolve().name, "image": [str(p) for p in dicom]})
        for name in sorted(name for name in files if NIFTI.search(name) and not name.startswith(".")):
            stem = "_".join([*relative.parts, NIFTI.sub("", name)])
            cases.append({"case": stem, "image": [str(Path(folder) / name)]})
    if not cases:
        raise InputError(f"no series below {root}: looked for folders of DICOM files and for names that end in .nii or .nii.gz")
    names = [item["case"] for item in cases]
    for item in cases:  # a series as DICOM and as NIfTI under one name
        if names.count(item["case"]) > 1:
            item["case"] += "_nifti" if NIFTI.search(item["image"][0]) else "_dicom"
    return sorted(cases, key=lambda item: item["case"])
