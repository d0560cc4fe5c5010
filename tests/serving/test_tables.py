"""Files of rows are read row by row, with the columns that the reader chooses of those that there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables import files
from tables.files import SAMPLE, Wanted, read_delimited, read_json_lines, read_lines, read_parquet
from tables.rows import ColumnsError, Reject, Row, TableError


def pair(path: Path, found: Sequence[str]) -> Wanted:
    return Wanted(["text"], ["text_pair"])


def test_the_reader_is_shown_the_columns_once(tmp_path: Path) -> None:
    shown = []

    def choose(path: Path, found: Sequence[str]) -> Wanted:
        shown.append((path, list(found)))
        return Wanted(found[1:])

    (tmp_path / "a.csv").write_text("one,two\n1,2\n3,4\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('{broken\n{"one": 1}\n{"two": 2}\n', encoding="utf-8")
    assert [row.values for row in read_delimited(tmp_path / "a.csv", choose, ",")] == [{"two": "2"}, {"two": "4"}]
    found = list(read_json_lines(tmp_path / "a.jsonl", choose))
    assert [row.code if isinstance(row, Reject) else row.values for row in found] == [
        "invalid_json",
        "missing_column",
        {"two": 2},
    ]
    assert shown == [(tmp_path / "a.csv", ["one", "two"]), (tmp_path / "a.jsonl", ["one", "two"])]


def test_the_columns_are_those_of_the_first_objects_however_many_lines_are_broken_before(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{\n" * (2 * SAMPLE + 1) + '{"text": "a"}\n' * 3, encoding="utf-8")
    found = list(read_json_lines(tmp_path / "a.jsonl", pair))
    assert [row.line for row in found] == list(range(1, 2 * SAMPLE + 5))
    assert [row.values for row in found if isinstance(row, Row)] == [{"text": "a", "text_pair": None}] * 3


def test_an_optional_column_may_be_missing_in_a_table_or_an_object(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\na\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b", "text_pair": "c"}\n', encoding="utf-8")
    assert [row.values for row in read_delimited(tmp_path / "a.csv", pair, ",")] == [{"text": "a"}]
    assert [row.values for row in read_json_lines(tmp_path / "a.jsonl", pair)] == [
        {"text": "a", "text_pair": None},
        {"text": "b", "text_pair": "c"},
    ]


@given(texts=st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]))), end=st.booleans())
def test_each_line_of_text_is_a_row(tmp_path_factory: pytest.TempPathFactory, texts: list[str], end: bool) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    texts = [text.removeprefix("\ufeff") for text in texts]
    content = "\n".join([*texts, ""] if end else texts)
    path.write_bytes(content.encode())
    expected = texts[:-1] if texts and not texts[-1] and not end else texts
    assert [row.values["text"] for row in read_lines(path, "text")] == expected


def test_a_line_that_is_no_utf8_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbffirst\r\n\xff\n\nlast")
    found = list(read_lines(tmp_path / "a.txt", "text"))
    assert [row.code if isinstance(row, Reject) else row.values["text"] for row in found] == [
        "first",
        "invalid_encoding",
        "",
        "last",
    ]


def test_a_line_without_an_end_is_told_and_the_others_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LINE_BYTES", 100)
    lines = ['{"text": "a"}', '{"text": "' + "b" * 350 + '"}', '{"text": "c"}']
    for name, text in {"a.jsonl": "\n".join(lines), "a.txt": "\n".join(lines)}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    rows = list(read_json_lines(tmp_path / "a.jsonl", pair))
    assert [(row.line, getattr(row, "code", "")) for row in rows] == [(1, ""), (2, "line_too_long"), (3, "")]
    told = list(read_lines(tmp_path / "a.txt", "text"))
    assert [(row.line, getattr(row, "code", "")) for row in told] == [(1, ""), (2, "line_too_long"), (3, "")]


def test_a_large_file_is_not_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ARRAY_BYTES", 100)
    (tmp_path / "a.json").write_text("[" + '{"text": "a"}, ' * 50 + "{}]", encoding="utf-8")
    with pytest.raises(TableError, match="or one array of at most 100 bytes, found 754; write an object a line"):
        list(read_json_lines(tmp_path / "a.json", pair))


def test_a_device_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to("/dev/zero")
    with pytest.raises(TableError, match="expected a file that can be read, found: a device or a pipe"):
        list(read_json_lines(tmp_path / "a.jsonl", pair))


def test_a_date_beyond_all_years_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    days = pyarrow.array([0, 2**30, 1], pyarrow.int32()).cast(pyarrow.date32())
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b", "c"], "text_pair": days}), tmp_path / "a.parquet")
    rows = list(read_parquet(tmp_path / "a.parquet", pair))
    assert [(row.line, getattr(row, "code", "")) for row in rows] == [(1, ""), (2, "invalid_value"), (3, "")]


def test_columns_are_not_named_at_length(tmp_path: Path) -> None:
    error = ColumnsError(tmp_path, ["text"], ["x" * 100_000] * 1000, "name others")
    assert len(str(error)) < 2500 + len(str(tmp_path))
