"""Files of rows are read row by row, with the columns that the reader chooses of those that there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.tables.files import SAMPLE, Wanted, read_delimited, read_json_lines, read_lines
from serving.tables.rows import Reject, Row


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
