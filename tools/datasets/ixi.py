"""Read T1 heads, with T2 and PD, of people of known age and sex: the IXI release, or a folder with a table as in BIDS."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np

from shared.data import image_files
from shared.data.cases import split_name
from shared.data.table import Row, read_table
from shared.errors import InputError
from shared.person import parse_age, parse_sex
from shared.transforms import LoadCased, check_image, check_same_grid

NEEDS = "age"  # the key that training needs of a case
TABLES = ("ixi.csv", "ixi.xls", "participants.tsv", "participants.csv")  # the first of these in the topmost folder is read
OTHERS = ("t2", "pd")
ENDINGS = {
    **{name + w: name for name in ("t1", *OTHERS) for w in ("", "w")},
    **dict.fromkeys(("label", "labels", "seg", "dlmuse"), "label"),
}
FIELDS = {
    "id": ("ixi_id", "participant_id", "subject", "id"),
    "age": ("age",),
    "sex": ("sex", "sex_id", "gender"),
    "image": ("t1", "image", "path", "filename"),
    "label": ("dlmuse", "label", "seg", "labels"),
    "site": ("site",),
}
AGE_GROUPS = 5  # of equal size, in a stratified split


def subject_of(case: str) -> str:
    """The person a case is of: what comes before site and scan in IXI names, and before sessions and runs in BIDS names."""
    match = re.match(r"IXI\d+(?=-)|sub-[^_]+", case)
    return match[0] if match else case


def read(directory: str) -> list[dict]:
    """List T1 images with what a table says about the person.

    The table is IXI.xls (or its sheet as IXI.csv), participants.tsv or participants.csv. The image of a row is the file that
    the row names, relative to the table. Where no row names one it is every file of that person called ...T1.nii.gz or
    ...T1w.nii.gz, in a BIDS folder only those in sub-*/**/anat. T2 and PD are files of the same beginning (...T2.nii.gz).

    Returns:
        one dict a case: "case", "subject", "image" (absolute path), "sex" ("F", "M" or None), where known "age" (years),
        "site", "label" (absolute path of a label map) and, with T2 or PD, "files" by sequence.
        "problem" (text) tells why a case or row cannot be used, "notes" (texts) what else is odd about it.

    Raises:
        InputError: no such folder, no table in it, or one without rows, ids or ages.
    """
    root = Path(directory).expanduser().absolute()
    found = _find_files(root)
    images, labels = found["t1"], found["label"]
    table = _find_table(root)
    people: dict[str, list[Row]] = defaultdict(list)
    for row in read_table(table, FIELDS, required=("id", "age")):
        people[_identity(row, table)].append(row)
    names_files = any("image" in row.cells for rows in people.values() for row in rows)
    cases = []
    for name, rows in people.items():
        files = _named_files(name, rows, table.parent) if names_files else _files_of(name, images)
        if not files:
            lacks = f"no image of {name}" + " is named" * names_files if rows[0].cells["id"] else "no id"
            cases.append({"case": name, "subject": name, "sex": None, "problem": f"{rows[0].place}: {lacks}"})
        cases += [_case(case, file, rows, table.parent) for case, file in files]

    named = Counter(item["image"] for item in cases if "image" in item)
    for case, file in ((case, str(file)) for case, files in images.items() for file in files):
        if file not in named:
            note = f"{file}: no row in {table}"
            cases.append({"case": case, "subject": subject_of(case), "image": file, "sex": None, "notes": [note]})
    same = Counter(item["case"] for item in cases)
    for item in cases:
        if named[item.get("image")] > 1:
            item.setdefault("problem", f"{item['image']}: several rows of {table} are about this image")
        elif same[item["case"]] > 1:
            item.setdefault("problem", f"{item.get('image', table)}: {same[item['case']]} images are called {item['case']}")
        maps = [str(path) for path in labels.get(item["case"], [])]
        if len(maps) == 1:
            item.setdefault("label", maps[0])
        elif maps and "label" not in item:
            item.setdefault("notes", []).append(f"label maps not used, as there is more than one: {', '.join(maps)}")
        if "image" in item and any(map(found.get, OTHERS)):
            _add_others(item, {name: found[name].get(item["case"], []) for name in OTHERS})
    return sorted(cases, key=lambda item: item["case"])


def _find_files(root: Path) -> dict[str, dict[str, list[Path]]]:
    """Images by sequence and label maps ("label") below a folder, by what their names begin with."""
    found: dict[str, dict[str, list[Path]]] = {kind: defaultdict(list) for kind in ("t1", *OTHERS, "label")}
    for path in image_files(root):
        prefix, kind = split_name(path.name, ENDINGS) or ("", "")
        # images that were computed from a BIDS dataset lie in its derivatives
        derived = prefix.startswith("sub-") and not (
            path.relative_to(root).parts[0].startswith("sub-") and path.parent.name == "anat"
        )
        if kind == "label" or (kind and not derived):
            found[kind][prefix or path.parent.name].append(path)
    return found


def _add_others(item: dict, paths: Mapping[str, Sequence[Path]]) -> None:
    """Add T2 and PD to the case of a T1 image as "files", and notes on what is missing or there twice."""
    item["files"] = {"t1": item["image"], **{name: str(files[0]) for name, files in paths.items() if len(files) == 1}}
    for name, files in paths.items():
        if not files:
            item.setdefault("notes", []).append(f"{item['image']}: no {name.upper()}")
        elif len(files) > 1:
            item.setdefault("notes", []).append(
                f"{name.upper()} not used, as there is more than one: {', '.join(map(str, files))}"
            )


def _find_table(root: Path) -> Path:
    tables = [p for p in root.rglob("*") if p.name.lower() in TABLES and p.is_file()]
    if not tables:
        found = ", ".join(sorted(p.name for p in root.iterdir())[:10]) or "nothing"
        raise InputError(f"{root}: no table of ages, expected IXI.xls, IXI.csv, participants.tsv or .csv; found {found}")
    return min(tables, key=lambda p: (len(p.parts), TABLES.index(p.name.lower()), p))


def _identity(row: Row, table: Path) -> str:
    """The id of a row; IXI's own table has bare numbers for what the files call IXI002."""
    name = row.cells["id"] or Path(row.place).name
    number = re.fullmatch(r"(?:IXI)?(\d+)", name, re.IGNORECASE)
    return f"IXI{int(number[1]):03d}" if number and table.stem.lower() == "ixi" else name


def _named_files(name: str, rows: Sequence[Row], folder: Path) -> list[tuple[str, str]]:
    """The files that the rows of one id name, each with a name for its case."""
    files = sorted({os.path.abspath(folder / row.cells["image"]) for row in rows if row.cells["image"]})
    return [(name if len(files) == 1 else f"{name} {Path(file).name}", file) for file in files]


def _files_of(name: str, images: Mapping[str, Sequence[Path]]) -> list[tuple[str, str]]:
    """The files found for an id, each with its case. The id is that of a case or a subject, "sub-" may be left out."""
    wanted = {name, f"sub-{name}"}
    return [(c, str(file)) for c, files in images.items() if wanted & {c, subject_of(c)} for file in files]


def _case(case: str, file: str, rows: Sequence[Row], folder: Path) -> dict:
    """An image with what the rows of one id say about it."""
    row, cells = rows[0], rows[0].cells
    item: dict = {"case": case, "subject": subject_of(case), "image": file, "sex": None, "notes": []}
    match = re.match(r"IXI\d+-([A-Za-z]+)-", case)
    site = match[1] if match else cells.get("site")
    if site:
        item["site"] = site
    problems = [r.problem for r in rows if r.problem]
    other = next((r for r in rows if r.cells != cells), None)
    if not cells["id"]:
        problems.append(f"{row.place}: no id")
    if other:
        told = (f"{r.place} says {', '.join(f'{k} {v}' for k, v in r.cells.items() if v)}" for r in (row, other))
        problems.append(f"contradiction: {'; '.join(told)}")
    elif len(rows) > 1:
        item["notes"].append(f"{', '.join(r.place for r in rows[1:])}: repeats {row.place}")
    if not os.path.isfile(file):
        problems.append(f"{row.place}: no such file {file}")
    lacking = [field for field in ("age", "sex") if not cells.get(field, "no column")]
    if lacking:
        item["notes"].append(f"{row.place}: no {' and no '.join(lacking)}")
    try:
        if cells["age"]:
            item["age"] = parse_age(cells["age"])
    except ValueError as error:
        problems.append(f"{row.place}: {error}")
    try:
        if cells.get("sex"):
            item["sex"] = parse_sex(cells["sex"])
    except ValueError as error:
        item["notes"].append(f"{row.place}: {error}")
    if cells.get("label"):
        label = os.path.abspath(folder / cells["label"])
        if os.path.isfile(label):
            item["label"] = label
        else:
            item["notes"].append(f"{row.place}: no such file {label}")
    if problems:
        item["problem"] = "; ".join(problems)
    return item


def check(item: dict) -> tuple[list[str], Counter]:
    """Read the images and the label map of a case and look for whatever would stop a training.

    Returns:
        the problems found (empty for a good case), and how many voxels each label value has.
    """
    if "problem" in item:
        return [item["problem"]], Counter()
    reader, path, counts = LoadCased(("t1",)), item["image"], Counter()
    try:
        image = reader.read(path)
        if min(image.shape[1:]) < 2:
            raise ValueError(f"{path}: expected a 3D image, found shape {tuple(image.shape[1:])}")
        check_image(image, path)
        for other in item.get("files", {}).values():
            if other != path:
                check_image(reader.read(other), other)
        if "label" in item:
            label = reader.read(item["label"])
            check_same_grid(label, item["label"], image, path)
            values, numbers = np.unique(label.numpy(), return_counts=True)
            if (values != np.rint(values)).any():
                raise ValueError(f"{item['label']}: expected a label map of whole numbers, found {values[values % 1 > 0][0]:g}")
            counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    except ValueError as error:
        return [str(error)], Counter()
    return [], counts


def describe(cases: Sequence[dict], counts: Sequence[Counter]) -> str:
    """Ages and sexes of checked cases, for a line of text; `counts` is what `check` found in their label maps."""
    ages = np.array([item["age"] for item in cases if "age" in item])
    sexes = Counter(item["sex"] or "sex unknown" for item in cases)
    text = f"age {ages.mean():.1f} +- {ages.std():.1f} ({ages.min():.1f} to {ages.max():.1f})" if ages.size else "age unknown"
    text += "".join(f", {number} {sex}" for sex, number in sorted(sexes.items()))
    labelled = sum(map(bool, counts))
    both = sum(len(item.get("files", ())) == 1 + len(OTHERS) for item in cases)
    return text + (f", {both} with T2 and PD" if both else "") + (f", {labelled} with label map" if labelled else "")


def strata(cases: Sequence[dict]) -> list[Hashable]:
    """The group of each case that a split deals out evenly: its fifth of the ages, and its sex."""
    ages = [item["age"] for item in cases]
    edges = np.quantile(ages, np.linspace(0, 1, AGE_GROUPS + 1)[1:-1])
    return [(int(group), item["sex"]) for group, item in zip(np.searchsorted(edges, ages, "right"), cases, strict=True)]
