"""Tables of people: .csv, .tsv and .xls files as rows of text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, describe

MISSING = {"", "n/a", "na", "nan", "#n/a", "none", "null", "-", "?", "unknown"}


@dataclass(frozen=True)
class Row:
    """One line of a table: its cells by field, "" where nothing is known; no entry for a field without a column."""

    place: str  # file and row, the header being row 1
    cells: Mapping[str, str]
    problem: str = ""  # what makes its cells doubtful


def read_table(path: Path, fields: Mapping[str, Sequence[str]], required: Sequence[str]) -> list[Row]:
    """Read the columns of a table that are asked for.

    Column names are compared without case, surrounding blanks and what follows in brackets: "SEX_ID (1=m, 2=f)" is sex_id.
    Text files may be separated by comma, semicolon or tab.

    Args:
        path: a .csv, .tsv or .xls file, of the latter the sheet "Table" or else the first one.
        fields: the names that a column may have, by what it is called here, the best first: {"id": ["subject", "id"], ...}.
        required: the fields that there must be a column for.

    Returns:
        a row for every line that is not blank. One with more cells than the header, as an unquoted decimal comma makes them,
        has a problem.

    Raises:
        InputError: the file cannot be read, has no rows, or no column for a required field.
        ImportError: xlrd is needed and not installed.
    """
    lines = _read_xls(path) if path.suffix.lower() == ".xls" else _read_text(path)
    header = [name.strip() for name in lines[0]] if lines else []
    names = [re.sub(r"\s*\(.*", "", name).casefold() for name in header]
    columns = {f: next(names.index(alias) for alias in a if alias in names) for f, a in fields.items() if {*a} & {*names}}
    found = f"found the columns {', '.join(filter(None, header)) or '(none)'}"
    for field in required:
        if field not in columns:
            raise InputError(f"{path}: no column for {field}, expected one of {', '.join(fields[field])}; {found}")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        cells = [cell.strip() for cell in line]
        if not any(cells):
            continue
        known = {field: cells[i] if i < len(cells) else "" for field, i in columns.items()}
        place = f"{path} row {number}"
        surplus = any(cells[len(header) :])
        problem = f"{place}: {len(cells)} cells, expected {len(header)}; is a comma in a number?" if surplus else ""
        rows.append(Row(place, {k: "" if v.casefold() in MISSING else v for k, v in known.items()}, problem))
    if not rows:
        raise InputError(f"{path}: no rows; {found}")
    return rows


def _read_text(path: Path) -> list[list[str]]:
    try:
        # utf-8-sig: spreadsheets put a byte order mark in front; other encodings only spoil letters that do not matter here
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        first = text.split("\n", 1)[0]
        delimiter = max(",;\t", key=first.count)
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: not a readable table ({describe(error)})") from None


def _read_xls(path: Path) -> list[list[str]]:
    try:
        import xlrd
    except ImportError:
        raise ImportError(f"{path}: reading .xls needs xlrd: pip install -e .[ixi] (or save the sheet as .csv)") from None
    try:
        book = xlrd.open_workbook(path)
    except Exception as error:  # whatever a damaged file provokes
        raise InputError(f"{path}: not a readable .xls file ({describe(error)}); save its sheet as .csv") from None
    sheet = book.sheet_by_name("Table") if "Table" in book.sheet_names() else book.sheet_by_index(0)

    def text(cell) -> str:
        if cell.ctype == xlrd.XL_CELL_ERROR:
            return xlrd.error_text_from_code[cell.value]
        return f"{cell.value:.15g}" if isinstance(cell.value, float) else str(cell.value)

    return [[text(cell) for cell in row] for row in sheet.get_rows()]
