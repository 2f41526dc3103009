import re
import sys

import pytest
import xlwt

from shared.data.table import read_table
from shared.errors import InputError
from shared.person import parse_age, parse_sex

FIELDS = {"id": ("subject", "id"), "age": ("age",), "sex": ("sex_id", "sex")}


def read(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(path, FIELDS, ("id", "age"))


@pytest.mark.parametrize(
    ("text", "age"),
    [("35.8", 35.8), ("35,8", 35.8), ("035Y", 35), ("018M", 1.5), ("35 years", 35), ("41 y", 41), ("0", 0), ("3.5e1", 35)],
)
def test_ages_are_understood(text, age):
    assert parse_age(text) == pytest.approx(age)


@pytest.mark.parametrize("text", ["sixty", "35M", "1,234.5", "60-65", "12.3.1970", "-", "thirty5"])
def test_text_is_no_age(text):
    with pytest.raises(ValueError, match=re.escape(f"age is '{text}', expected a number of years")):
        parse_age(text)


@pytest.mark.parametrize("text", ["-1", "121", "1e999", "1970"])
def test_impossible_ages_are_refused(text):
    with pytest.raises(ValueError, match=f"age is {text}, expected 0 to 120 years"):
        parse_age(text)


def test_sexes_are_those_of_ixi_or_words():
    assert [parse_sex(t) for t in ("1", "m", "Male", "2", "F", "female", "2.0")] == ["M", "M", "M", "F", "F", "F", "F"]
    with pytest.raises(ValueError, match="sex is '3', expected M, F, male, female, 1"):
        parse_sex("3")


@pytest.mark.parametrize(
    "text",
    [
        'Subject,"SEX_ID (1=m, 2=f)",AGE\nA,1,35.8\n\n,,\nB,,n/a\n',
        "\ufeffsubject\tid\tage\tsex_id\r\nA\tx\t35.8\t1\r\nB\ty\tNaN\t\r\n",
        'Age;Subject;"SEX_ID (1=m, 2=f)"\n35.8;A;1\n;B\n',
    ],
)
def test_columns_are_found_whatever_they_are_separated_by(tmp_path, text):
    first, second = read(tmp_path / "t.csv", text)
    assert first.cells == {"id": "A", "age": "35.8", "sex": "1"} and second.cells == {"id": "B", "age": "", "sex": ""}
    assert first.place == f"{tmp_path / 't.csv'} row 2" and not first.problem


def test_a_field_without_column_is_no_cell(tmp_path):
    (row,) = read(tmp_path / "t.csv", "id,age\nA,5\n")
    assert "sex" not in row.cells


def test_an_unquoted_decimal_comma_is_noticed(tmp_path):
    row, _ = read(tmp_path / "t.csv", "id,age,sex\nA,35,8,M\nB,30,F\n")
    assert row.problem == f"{tmp_path / 't.csv'} row 2: 4 cells, expected 3; is a comma in a number?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column for id, expected one of subject, id; found the columns (none)"),
        ("id,age,sex\n,,\n", "no rows; found the columns id, age, sex"),
        ("Subject,Years,Sex\nA,5,M\n", "no column for age, expected one of age; found the columns Subject, Years, Sex"),
    ],
)
def test_useless_tables_are_refused_with_their_columns(tmp_path, text, message):
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 't.csv'}: {message}")):
        read(tmp_path / "t.csv", text)


def test_xls_has_the_rows_of_the_sheet_called_table(tmp_path):
    book = xlwt.Workbook()
    book.add_sheet("Notes").write(0, 0, "nothing")
    sheet = book.add_sheet("Table")
    for i, row in enumerate([["ID", "AGE", "SEX"], [2, 35.80013689, 2], ["B", "n/a", ""]]):
        for j, value in enumerate(row):
            sheet.write(i, j, value)
    sheet.row(3).write(0, "C")
    sheet.row(3).set_cell_error(1, "#DIV/0!")
    book.save(str(tmp_path / "t.xls"))
    rows = read_table(tmp_path / "t.xls", FIELDS, ("id", "age"))
    assert rows[0].cells == {"id": "2", "age": "35.80013689", "sex": "2"}
    assert [row.cells["age"] for row in rows[1:]] == ["", "#DIV/0!"]


@pytest.mark.parametrize("content", [b"PK\x03\x04 an xlsx", b"", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 cut short"])
def test_a_damaged_xls_is_refused(tmp_path, content):
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 't.xls'}: not a readable .xls file")):
        read(tmp_path / "t.xls", content)


def test_without_xlrd_the_command_to_install_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "xlrd", None)
    with pytest.raises(ImportError, match=r"t\.xls: reading \.xls needs xlrd: pip install -e \.\[ixi\]"):
        read(tmp_path / "t.xls", b"")
