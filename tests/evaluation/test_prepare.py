"""Masked words from plain text and from texts with masks: filled in again, they are what was given."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.prepare import WORD, converted, main, masked

TEXT = "The cat sat on the warm mat, and it didn't look at 7 well-known moons (or so)."


def run(source: Path, *options: str) -> tuple[int, list[dict[str, Any]]]:
    output = source.parent / "out/cloze.jsonl"
    status = main(["--input", str(source), "--output", str(output), *options])
    lines = output.read_text(encoding="utf-8").split("\n")[:-1] if output.is_file() else []
    return status, [json.loads(line) for line in lines]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2).map(" ".join), st.integers())
def test_a_masked_word_filled_in_gives_the_text(text: str, seed: int) -> None:
    row = masked(text, random.Random(seed))
    if isinstance(row, str):
        assert "[MASK]" in text or sum(any(map(str.isalpha, word)) for word in WORD.findall(text)) < 2
    else:
        assert row["input_string"].count("[MASK]") == 1
        assert row["input_string"].replace("[MASK]", row["title"]) == text
        assert any(map(str.isalpha, row["title"]))


def test_whole_words_are_masked_and_signs_and_numbers_are_not() -> None:
    titles = {masked(TEXT, random.Random(seed))["title"] for seed in range(400)}
    assert titles == set("The cat sat on the warm mat and it didn't look at well-known moons or so".split())


def test_text_is_prepared_a_line_a_row_the_same_each_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(
        b"\xef\xbb\xbfThe cat sat.\n\nalone\n\xe2 cat sat\nA [MASK] is here\n" + b"The dog ran home.\r\n" * 9
    )
    status, rows = run(file)
    assert status == 0
    assert [row["input_string"].replace("[MASK]", row["title"]) for row in rows] == [
        "The cat sat.", *["The dog ran home."] * 9,
    ]  # fmt: skip
    assert len({row["title"] for row in rows[1:]}) > 1
    err = capsys.readouterr().err
    assert err.startswith("10 rows written, 3 left out\n")
    assert "1: the line is not UTF-8" in err
    assert run(file)[1] == rows
    assert run(file, "--seed", "18")[1] != rows
    assert run(file, "--rows", "4")[1] == rows[:4]


def test_a_folder_of_text_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "b.txt").write_text("bee one\n")
    (folder / "a.txt").write_text("ant two\n")
    _, rows = run(folder)
    assert [row["input_string"].replace("[MASK]", row["title"]) for row in rows] == ["ant two", "bee one"]


@given(st.lists(st.text("ab <m>", max_size=9), min_size=2), st.data())
def test_texts_with_masks_keep_their_text_and_words(parts: list[str], data: st.DataObject) -> None:
    words = [data.draw(st.text("xy", min_size=1)) for _ in parts[1:]]
    row = converted("<mask>".join(parts), words if len(words) > 1 else data.draw(st.sampled_from([words, words[0]])))
    if "<mask>" in "".join(parts):
        return
    assert row == {"input_string": "[MASK]".join(parts), "title": words[0] if len(words) == 1 else words}


@pytest.mark.parametrize("word", ["1990", "true", "null", "[sic]"])
def test_a_word_that_json_would_take_for_something_else_is_a_word(word: str) -> None:
    assert converted("<mask> ended.", word) == {"input_string": "[MASK] ended.", "title": word}


def test_a_list_that_python_printed_is_left_out() -> None:
    assert converted("<mask> ended.", "['war']") == "texts is not a text, or masks is not a list of words"


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_tables_of_texts_and_masks_are_prepared(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"raw.{kind}"
    texts = ["<mask> is in <mask>.", "<mask> sat.", "no gap", "<mask> [MASK]"]
    masks = [["Paris", "France"], ["The cat"], ["a"], ["b"]]
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.table({"id": range(4), "texts": texts, "masks": masks}), file)
    elif kind == "csv":
        quoted = (json.dumps(words).replace('"', '""') for words in masks)
        lines = [f'{number},{text},"{words}"' for number, (text, words) in enumerate(zip(texts, quoted, strict=True))]
        file.write_text("\n".join(["id,texts,masks", *lines]))
    else:
        rows = [{"texts": text, "masks": words} for text, words in zip(texts, masks, strict=True)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(file) == (
        0,
        [
            {"input_string": "[MASK] is in [MASK].", "title": ["Paris", "France"]},
            {"input_string": "[MASK] sat.", "title": "The cat"},
        ],
    )


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("a.txt", "", [], "expected rows to make test data of, found none: the input is empty"),
        ("a.txt", "alone\n", [], "found none: 1 because the text has fewer than two words"),
        ("a.jsonl", '{"text": "a"}\n', [], r"expected columns ['texts', 'masks'], found ['text']"),
        ("a.pdf", "", [], "expected a file that ends in"),
    ],
)
def test_where_there_is_nothing_to_prepare_it_fails_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, options: list[str], message: str
) -> None:
    (tmp_path / name).write_text(text)
    assert run(tmp_path / name, *options) == (1, [])
    err = capsys.readouterr().err
    assert err.startswith("prepare: ")
    assert message in err
    assert list((tmp_path / "out").glob("*")) == []
