"""Tables: what was written is read, in every kind of file; a broken row is told and the others are read."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.files import FIELD_CHARACTERS, SAMPLE
from tables.rows import Reject, Row, TableError
from tables.table import open_table

COLUMNS = ["input_string", "title"]
texts = st.text(st.characters(exclude_categories=["Cs"]))
# The csv module takes a NUL for the end of the data in some versions, and a lone carriage return for a line's end.
fields = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
rows_of_texts = st.lists(st.tuples(texts, texts), min_size=1, max_size=20)


def read(path: Path, columns: list[str] = COLUMNS) -> list[Row | Reject]:
    return list(open_table(path).rows(columns))


def values(path: Path, columns: list[str] = COLUMNS) -> list[tuple[Any, ...]]:
    """Return the values of rows, none of which may be a reject."""
    rows = read(path, columns)
    assert [row for row in rows if isinstance(row, Reject)] == []
    return [tuple(row.values[column] for column in columns) for row in rows if isinstance(row, Row)]


def codes(path: Path) -> list[tuple[int, str]]:
    return [(row.line, row.code if isinstance(row, Reject) else "row") for row in read(path)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


# What was written is read


@given(rows_of_texts, st.booleans(), st.booleans())
def test_json_lines_are_read_as_they_were_written(
    folder: Path, rows: list[tuple[str, str]], ascii_only: bool, mark: bool
) -> None:
    file = folder / "a.jsonl"
    lines = [json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=ascii_only) + "\n" for row in rows]
    file.write_text("".join(lines), encoding="utf-8-sig" if mark else "utf-8")
    assert values(file) == rows
    assert [row.line for row in read(file)] == list(range(1, len(rows) + 1))


@given(st.lists(st.tuples(fields, fields), min_size=1, max_size=20), st.sampled_from(["csv", "tsv"]), st.booleans())
def test_csv_and_tsv_are_read_as_they_were_written(
    folder: Path, rows: list[tuple[str, str]], kind: str, mark: bool
) -> None:
    file = folder / f"a.{kind}"
    with file.open("w", encoding="utf-8-sig" if mark else "utf-8", newline="") as opened:
        writer = csv.writer(opened, "excel" if kind == "csv" else "excel-tab")
        writer.writerows([COLUMNS, *rows])
    assert values(file) == rows


@given(rows_of_texts, st.integers(1, 5))
def test_parquet_is_read_as_it_was_written(folder: Path, rows: list[tuple[str, str]], group: int) -> None:
    file = folder / "a.parquet"
    columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
    pyarrow.parquet.write_table(pyarrow.table({**columns, "more": [1] * len(rows)}), file, row_group_size=group)
    assert values(file) == rows
    assert [row.line for row in read(file)] == list(range(1, len(rows) + 1))


def test_lists_and_records_of_parquet_come_as_those_of_json(tmp_path: Path) -> None:
    answers = {"text": ["a", "b"], "answer_start": [1, 2]}
    pyarrow.parquet.write_table(pyarrow.table({"title": [["x"], []], "answers": [answers] * 2}), tmp_path / "a.parquet")
    assert values(tmp_path / "a.parquet", ["title", "answers"]) == [(["x"], answers), ([], answers)]


def test_a_row_of_several_lines_is_called_by_its_first(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('title,input_string\r\na,"b\r\nc"\r\n\r\nd,e\r\n', newline="")
    assert [(row.line, row.values) for row in read(tmp_path / "a.csv") if isinstance(row, Row)] == [
        (2, {"input_string": "b\r\nc", "title": "a"}),
        (5, {"input_string": "e", "title": "d"}),
    ]


# Broken rows


def test_broken_rows_of_json_lines_are_told_and_the_others_read(tmp_path: Path) -> None:
    good = b'{"input_string": "a", "title": "b", "more": 1}\n'
    lines = [b"{\n", b"[1]\n", b"\n", b'{"title": "b"}\n', b'{"title": "\xe2"}\n', b"[" * 100_000 + b"\n", good]
    (tmp_path / "a.json").write_bytes(good + b"".join(lines))
    assert codes(tmp_path / "a.json") == [
        (1, "row"),
        (2, "invalid_json"),
        (3, "not_an_object"),
        (5, "missing_column"),
        (6, "invalid_encoding"),
        (7, "invalid_json"),
        (8, "row"),
    ]


def test_broken_rows_of_csv_are_told_and_the_others_read(tmp_path: Path) -> None:
    lines = [b"input_string,title", b"a,b", b"a", b"a,b,c", b"\xe2,b", b'"a"b,c', b"a,b", b'"a', b"b,c", b"d,e"]
    (tmp_path / "a.csv").write_bytes(b"\n".join(lines))
    assert codes(tmp_path / "a.csv") == [
        (2, "row"),
        (3, "wrong_number_of_fields"),
        (4, "wrong_number_of_fields"),
        (5, "invalid_encoding"),
        (6, "invalid_row"),
        (7, "row"),
        (8, "invalid_row"),  # its quote is never closed, and would have taken what follows
        (9, "row"),
        (10, "row"),
    ]


def test_an_open_quote_takes_no_more_than_the_longest_field(tmp_path: Path) -> None:
    count = FIELD_CHARACTERS // 100 + 1000
    (tmp_path / "a.csv").write_text('input_string,title\n"a\n' + f"{'x' * 100},b\n" * count)
    found = codes(tmp_path / "a.csv")
    assert found[0] == (2, "invalid_row")
    assert [code for _, code in found[1:]] == ["row"] * count


def test_a_text_of_parquet_that_is_no_utf8_is_told_and_the_others_read(tmp_path: Path) -> None:
    raw = pyarrow.array([b"a", b"\xe2", b"c"], pyarrow.binary())
    text = pyarrow.StringArray.from_buffers(3, *raw.buffers()[1:])
    pyarrow.parquet.write_table(pyarrow.table({"input_string": text, "title": ["b"] * 3}), tmp_path / "a.parquet")
    assert codes(tmp_path / "a.parquet") == [(1, "row"), (2, "invalid_encoding"), (3, "row")]


# What is wrong with all of it


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
def test_a_missing_column_is_an_error_at_once(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "label": ["b"]}), file)
    else:
        separator = "\t" if kind == "tsv" else ","
        lines = {"jsonl": '{"text": "a"}\n{"label": "b"}\n'}
        file.write_text(lines.get(kind, f"text{separator}label\na{separator}b\n"))
    expected = (
        r"expected columns \['input_string', 'title'\], found \['text', 'label'\]; "
        "set input_column_names and label_column_name"
    )
    with pytest.raises(TableError, match=expected):
        next(open_table(file).rows(COLUMNS))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_fault_of_a_late_file_is_told_before_the_first_row(tmp_path: Path, kind: str) -> None:
    files = {
        "jsonl": ('{"input_string": "a", "title": "b"}\n' * 2, '{"text": "a", "title": "b"}\n'),
        "csv": ("input_string,title\na,b\n", "text,title\na,b\n"),
        "parquet": (None, "no parquet"),
    }
    first, second = files[kind]
    if first is None:
        pyarrow.parquet.write_table(pyarrow.table({"input_string": ["a"], "title": ["b"]}), tmp_path / "part-0.parquet")
    else:
        (tmp_path / f"part-0.{kind}").write_text(first)
    (tmp_path / f"part-1.{kind}").write_text(second)
    with pytest.raises(TableError, match=rf"part-1\.{kind}: expected"):
        next(open_table(tmp_path).rows(COLUMNS))


def test_a_column_of_late_rows_alone_is_missing(tmp_path: Path) -> None:
    late = '{"input_string": "a", "title": "b"}\n'
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' * SAMPLE + late)
    with pytest.raises(TableError, match="expected columns"):
        read(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' * (SAMPLE - 1) + late)
    assert codes(tmp_path / "a.jsonl")[-1] == (SAMPLE, "row")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "expected files that end in .*, found nothing"),
        ({"a.txt": ""}, "expected files that end in .*, found a.txt"),
        ({"a.csv": "", "b.jsonl": ""}, "expected files of one kind, found csv, json_lines"),
        ({"a.csv": "title,title,input_string\n"}, "expected each column once, found title several times"),
        ({"a.csv": '"a'}, "expected a header with the columns' names, found: expected fields"),
        ({"a.parquet": "no"}, "a.parquet: expected a parquet file, found after row 0: "),
    ],
)
def test_a_folder_that_is_no_table_is_told(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(TableError, match=message):
        read(tmp_path)


def test_a_file_of_another_kind_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").touch()
    with pytest.raises(
        TableError, match=r"expected a file that ends in .jsonl, .json, .csv, .tsv, .parquet, found a.x"
    ):
        open_table(tmp_path / "a.xlsx")
    with pytest.raises(TableError, match="found nothing there"):
        open_table(tmp_path / "none")


# Folders


def test_a_folders_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, text in (("b.csv", "b"), ("a.csv", "a"), (".c.csv", "c"), ("_SUCCESS", ""), ("README.md", "")):
        (tmp_path / name).write_text(f"title,input_string\n{text},{text}\n")
    found = [(row.file, row.line, row.values["title"]) for row in read(tmp_path) if isinstance(row, Row)]
    assert found == [("a.csv", 2, "a"), ("b.csv", 2, "b")]
    assert open_table(tmp_path).about() == 2


def test_what_a_table_is_about_is_its_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n" * 7)
    pyarrow.parquet.write_table(pyarrow.table({"a": list(range(11))}), tmp_path / "a.parquet")
    assert open_table(tmp_path / "a.jsonl").about() == 7
    assert open_table(tmp_path / "a.parquet").about() == 11


# MLTable


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A folder with files of each kind, `a` and `b`, below data/."""
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"data/{name}.jsonl").write_text(json.dumps({"input_string": name, "title": name}) + "\n")
        (tmp_path / f"data/{name}.txt").write_text(f"input_string;title\n{name};{name}\n")
        table = pyarrow.table({"input_string": [name], "title": [name]})
        pyarrow.parquet.write_table(table, tmp_path / f"data/{name}.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("paths: [{file: ./data/b.jsonl}, {file: data/a.jsonl}]\ntransformations: [read_json_lines]", "ba"),
        ("paths: [{pattern: ./data/*.jsonl}]\ntransformations: [{read_json_lines: {encoding: utf8}}]", "ab"),
        ("paths: [{pattern: '**/*.parquet'}]\ntransformations: [read_parquet]", "ab"),
        ("type: mltable\npaths: [{file: data/a.txt}]\ntransformations: [{read_delimited: {delimiter: ';'}}]", "a"),
    ],
)
def test_an_mltable_names_files_and_their_kind(tables: Path, text: str, found: str) -> None:
    (tables / "MLTable").write_text(text)
    assert values(tables) == [(name, name) for name in found]
    assert values(tables / "MLTable") == [(name, name) for name in found]


def test_an_mltable_may_name_a_folder(tables: Path) -> None:
    for path in (tables / "data").glob("*.[!j]*"):
        path.unlink()
    (tables / "MLTable").write_text("paths: [{folder: ./data}]\ntransformations: [read_json_lines]")
    assert values(tables) == [("a", "a"), ("b", "b")]


def test_the_mltable_file_is_no_data_in_its_own_folder(tables: Path) -> None:
    (tables / "data/MLTable").write_text("paths: [{pattern: ./*}]\ntransformations: [read_json_lines]")
    for path in (tables / "data").glob("*.[!j]*"):
        path.unlink()
    assert values(tables / "data") == [("a", "a"), ("b", "b")]


def test_rows_of_several_files_name_theirs_from_the_folder(tables: Path) -> None:
    text = "paths: [{pattern: '*/rows.csv'}]\ntransformations: [read_delimited]"
    (tables / "MLTable").write_text(text)
    for name, rows in (("x", "a,b\n"), ("y", "c,d\ne\n")):
        (tables / name).mkdir()
        (tables / name / "rows.csv").write_text(f"input_string,title\n{rows}")
    for path in (tables, tables / "MLTable"):
        found = read(path)
        assert [(row.file, row.line) for row in found] == [("x/rows.csv", 2), ("y/rows.csv", 2), ("y/rows.csv", 3)]
        places = [row.place for row in found if isinstance(row, Row)]
        assert places == [{"line": 2, "file": "x/rows.csv"}, {"line": 2, "file": "y/rows.csv"}]
    assert [row.place for row in read(tables / "x") if isinstance(row, Row)] == [{"line": 2}]


BOMB = "[" + "".join(f"&a{n} [{', '.join([f'*a{n - 1}'] * 9 if n else ['x'])}], " for n in range(40)) + "*a39]"
JSON_LINES = "transformations: [read_json_lines]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "expected YAML that can be read"),
        ("paths: []", "found no paths"),
        (f"paths: [{{file: data/a.jsonl}}]\n{JSON_LINES}\ntraits: {{}}", "found traits too; leave it out"),
        ("paths: [{file: data/a.jsonl}]", "expected one transformation, of .*, found 0"),
        ("paths: [{file: data/a.jsonl}]\ntransformations: [read_json_lines, {take: 5}]", "one transformation.*found 2"),
        ("paths: [{file: data/a.jsonl}]\ntransformations: [{skip: 5}]", "one transformation, of .*, found skip"),
        (
            "paths: [{file: data/a.jsonl}]\ntransformations: [{read_json_lines: {encoding: latin1}}]",
            "expected read_json_lines with options of .*, found encoding: 'latin1'; leave it out",
        ),
        ("paths: [{file: a}]\ntransformations: [{read_delimited: {delimiter: '||'}}]", "a delimiter of one character"),
        (f"paths: [{{file: azureml://a/b}}]\n{JSON_LINES}", "paths beside the MLTable file, found azureml://a/b"),
        (f"paths: [data/a.jsonl]\n{JSON_LINES}", "each of paths to be one of file, folder, pattern"),
        (f"paths: [{{file: data/none}}]\n{JSON_LINES}", "expected file data/none to be there, found no file"),
        ("&a [*a]", "found no paths"),
        ("paths: &a [*a]\n" + JSON_LINES, "each of paths to be one of file, folder, pattern"),
        (f"paths: {BOMB}\n{JSON_LINES}", "one of file, folder, pattern"),
        ("paths: " + "[" * 5000, "expected YAML that can be read"),
        (f"paths: [{{pattern: 'x*'}}]\n{JSON_LINES}", r"expected pattern x\* to be there, found no file"),
    ],
)
def test_what_we_do_not_know_of_an_mltable_is_refused(tables: Path, text: str, message: str) -> None:
    (tables / "MLTable").write_text(text)
    with pytest.raises(TableError, match=f"MLTable: .*{message}"):
        open_table(tables)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_json_file_may_be_one_array(tmp_path: Path, indent: int | None, wrapped: bool) -> None:
    objects = [{"input_string": "é", "title": "a"}, 5, {"input_string": "b", "title": None}]
    text = json.dumps({"data": objects} if wrapped else objects, indent=indent, ensure_ascii=False)
    (tmp_path / "a.json").write_text(text, encoding="utf-8-sig")
    rows = list(open_table(tmp_path / "a.json").rows(["input_string", "title"]))
    assert codes(tmp_path / "a.json") == [(1, "row"), (2, "not_an_object"), (3, "row")]
    assert [row.values for row in rows if isinstance(row, Row)] == [objects[0], objects[2]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"input_string": "a", "title": "b"}', [(1, "row")]),
        ('{"data": [1], "input_string": "a", "title": "b"}', [(1, "row")]),
        ("[1]\n[2]\n", [(1, "not_an_object"), (2, "not_an_object")]),
        ('[{"input_string": "a"', [(1, "invalid_json")]),
        ("[" * 100_000, [(1, "invalid_json")]),
        ("", []),
    ],
)
def test_what_is_no_single_array_is_read_as_json_lines(tmp_path: Path, text: str, found: list[tuple[int, str]]) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    assert codes(tmp_path / "a.json") == found


def test_a_json_lines_file_of_arrays_is_not_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('[{"input_string": "a", "title": "b"}]\n', encoding="utf-8")
    assert codes(tmp_path / "a.jsonl") == [(1, "not_an_object")]
