"""Find the cases in a folder of NIfTI files by the way the files are named."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import nibabel as nib

from ..errors import InputError
from ..handlers.case_table import read_rows

NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
logger = logging.getLogger(__name__)


def image_files(root: str | os.PathLike) -> Iterator[Path]:
    """All NIfTI files below `root` in sorted order, without hidden files and folders.

    Raises:
        InputError: `root` is no folder.
    """
    if not Path(root).expanduser().is_dir():
        raise InputError(f"dataset_dir is '{root}', which is not a folder")
    for folder, folders, files in os.walk(Path(root).expanduser(), followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if NIFTI.search(name) and not name.startswith("."):
                yield Path(folder) / name


def split_name(name: str, aliases: Mapping[str, str]) -> tuple[str, str] | None:
    """Split a file name into what comes before the sequence and the sequence: `P7_T1post.nii.gz` gives ("P7", "t1ce").

    `aliases` maps lower-case endings ("t1post", "t1_ir") to sequence names ("t1ce"); the longest that fits counts. None where
    no ending fits.
    """
    parts = re.split(r"([_\-. ])", NIFTI.sub("", name))
    for start in range(0, len(parts), 2):
        ending = "".join(parts[start:]).lower()
        if ending in aliases:
            return "".join(parts[: max(start - 1, 0)]), aliases[ending]
    return None


def find_cases(
    dataset_dir: str | os.PathLike,
    sequences: Mapping[str, Sequence[str]],
    channels_4d: Sequence[str] | None = None,
    label: Sequence[str] = (),
    partial: bool | str | Sequence[str] = False,
    apart: bool = False,
) -> list[dict]:
    """List the cases below `dataset_dir`: files of one folder that share the beginning of their name are one case.

    Where there is but one sequence and no label, it is as `find_images` has it.

    Args:
        dataset_dir: folder that is searched, with its subfolders.
        sequences: the file name endings of every sequence, in channel order: `{"t1ce": ["t1ce", "t1c"], ...}`.
        channels_4d: the sequences of a 4D file, in the file's order; None where 4D files are no input.
        label: file name endings of label maps.
        partial: the sequence or sequences that a case may lack, or True: all but one. A case that lacks some names those it
            has under "channels".
        apart: the files of a case may lie in several folders, such as IXI-T1 and IXI-T2.

    Returns:
        one dict a case: "case" (a unique name), "image" (the files in channel order, or one 4D file), for a 4D file
        "channels", "label" where there is one, and "problem" (text) where a sequence is missing or there twice.

    Raises:
        InputError: `dataset_dir` is no folder, or there is no case in it; `partial` names another sequence.
    """
    if len(sequences) == 1 and not label and channels_4d is None:
        return find_images(dataset_dir, *sequences.values())
    may_lack = set(sequences) if partial is True else {partial} if isinstance(partial, str) else set(partial or ())
    if may_lack - set(sequences):
        raise InputError(f"partial is {partial}, expected some of the sequences {', '.join(sequences)}")
    aliases = {alias.lower(): name for name, endings in sequences.items() for alias in endings}
    aliases |= {alias.lower(): "label" for alias in label}
    groups: dict[tuple[Path, str], dict[str, list[Path]]] = {}
    cases: list[dict] = []
    for path in image_files(dataset_dir):
        found = split_name(path.name, aliases)
        if found is not None:
            folder = Path() if apart and found[0] else path.parent
            groups.setdefault((folder, found[0]), {}).setdefault(found[1], []).append(path)
        elif channels_4d is not None and _is_4d(path):
            name = NIFTI.sub("", path.name)
            cases.append({"case": name, "image": str(path), "channels": list(channels_4d)})

    for (folder, prefix), files in groups.items():
        if set(files) == {"label"}:
            continue
        if apart:
            folder = next(iter(files.values()))[0].parent
        item = {"case": prefix or folder.name, "image": [str(files[n][0]) for n in sequences if n in files]}
        if "label" in files:
            item["label"] = str(files["label"][0])
        missing = [n for n in sequences if n not in files]
        twice = [n for n in files if len(files[n]) > 1]
        needed = [n for n in missing if n not in may_lack]
        if missing and not needed:
            item["channels"] = [n for n in sequences if n in files]
        if needed:
            expected = "; ".join(f"{n}: a name that ends in {' or '.join(sequences[n])}" for n in needed)
            names = ", ".join(sorted(p.name for ps in files.values() for p in ps))
            item["problem"] = f"{folder}: missing sequence, expected {expected} (.nii or .nii.gz); found {names}"
        elif twice:
            item["problem"] = f"{folder}: more than one {twice[0]}: {', '.join(p.name for p in files[twice[0]])}"
        cases.append(item)

    if not cases:
        endings = "; ".join(f"{n}: {', '.join(e)}" for n, e in sequences.items())
        raise InputError(
            f"no case below {dataset_dir}: looked for NIfTI files whose name ends in one of ({endings})"
            + (f", or 4D files with the channels {', '.join(channels_4d)}" if channels_4d else "")
        )
    return sorted(_unique(cases, Path(dataset_dir).expanduser()), key=lambda item: item["case"])


def find_images(
    dataset_dir: str | os.PathLike, endings: Sequence[str], image_list: str | os.PathLike | None = None
) -> list[dict]:
    """List images of a single sequence, each a case: those whose names end so, or all NIfTI files where none does.

    Args:
        dataset_dir: folder that is searched, with its subfolders.
        endings: of the file names, before .nii or .nii.gz: `["t1", "t1w"]` finds `IXI002-Guys-0828-T1.nii.gz`.
        image_list: a text file with a path a line, relative to `dataset_dir`; only these are taken.

    Returns:
        one dict a case: "case" (a unique name), "subject" (the same), "image" (one file), and "problem" (text) where a listed
        file is not there.

    Raises:
        InputError: `dataset_dir` is no folder, or there is no image; there is no such list, or it is empty.
    """
    root = Path(dataset_dir).expanduser()
    files = list(image_files(root)) if image_list is None else _listed(root, Path(image_list).expanduser())
    if not files:
        raise InputError(f"no image below {root}: looked for names that end in .nii or .nii.gz")
    aliases = {ending.lower(): "image" for ending in endings}
    chosen = files if image_list is not None else [f for f in files if split_name(f.name, aliases)] or files
    cases = []
    for path in chosen:
        prefix = (split_name(path.name, aliases) or ("", ""))[0] or NIFTI.sub("", path.name)
        item = {"case": prefix, "image": [str(path)]}
        if not path.is_file():
            item["problem"] = f"{path}: no such file, though {image_list} names it"
        cases.append(item)
    cases = _unique(cases, root)
    return [{**item, "subject": item["case"]} for item in sorted(cases, key=lambda item: item["case"])]


def _listed(root: Path, path: Path) -> list[Path]:
    if not path.is_file():
        raise InputError(f"no image_list {path}: expected a text file with one image a line")
    lines = [line.strip() for line in path.read_text().splitlines()]
    if not any(lines):
        raise InputError(f"image_list {path} is empty: expected one image a line")
    return [root / line for line in lines if line]


def unfinished(
    cases: Sequence[dict], output_dir: str | os.PathLike, file: str | None, table: str, overwrite: bool = False
) -> list[dict]:
    """The cases that still have to be done: those without an output file or without a row in the table.

    Args:
        cases: items with a "case".
        output_dir: folder of the outputs.
        file: name of a case's output there, with "{case}" in it; None where the row is the output.
        table: name of the table there, a row of which is the last that is written of a case.
        overwrite: do all cases again.
    """
    rows = {} if overwrite else read_rows(Path(output_dir) / table)

    def finished(case: str) -> bool:
        return case in rows and (file is None or (Path(output_dir) / file.format(case=case)).is_file())

    todo = [item for item in cases if not finished(item["case"])]
    if len(todo) < len(cases):
        logger.info(
            f"{len(cases) - len(todo)} of {len(cases)} cases are finished in {output_dir}; --overwrite true does them again"
        )
    return todo


def _is_4d(path: Path) -> bool:
    try:
        return len(nib.load(path).shape) == 4
    except Exception:  # unreadable: keep it as a case, so that loading it reports what is wrong
        return True


def _unique(cases: list[dict], root: Path) -> list[dict]:
    """Give cases of the same name the path of their folder in front, so that no output overwrites another's."""
    names = [item["case"] for item in cases]
    for item in cases:
        if names.count(item["case"]) > 1:
            first = item["image"] if isinstance(item["image"], str) else item["image"][0]
            folder = Path(first).parent
            folders = (folder.relative_to(root) if folder.is_relative_to(root) else folder).parts[-3:]
            item["case"] = "_".join([*folders, *([item["case"]] if item["case"] not in folders[-1:] else [])])
    return cases
