"""Questions made from text: answers stand where they are said to, in any text; and a model is trained on them."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.errors import FinetuneError
from finetune.pretrain.cloze_questions import MAX_CONTEXT, MIN_CONTEXT, main, make_questions, write_questions

PARAGRAPH = (
    "In 1066 William of Normandy crossed the narrow Channel with several thousand armed knights. "
    "Harold Godwinson had marched his tired army south from Yorkshire in less than two weeks. "
    "The battle near Hastings lasted from nine in the morning until dusk on a cold Saturday. "
    "William was crowned at Westminster Abbey on Christmas Day, and ruled for 21 years."
)
words = st.sampled_from(
    ["the", "of", "in", "a", "dog", "Paris", "1066", "3,000", "“old", "house”,", "(and", "ran)", "É", "x."]
)
paragraphs = st.lists(st.one_of(words, st.text(max_size=6)), max_size=200).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(paragraphs, max_size=4), st.integers(0, 3))
def test_an_answer_stands_where_it_is_said_to_and_is_not_told(lines: list[str], seed: int) -> None:
    for row in make_questions(lines, seed):
        (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        assert text
        assert row["context"][start : start + len(text)] == text
        assert MIN_CONTEXT <= len(row["context"].split()) <= MAX_CONTEXT
        assert row["question"].endswith("?")


def test_a_paragraph_is_asked_for_numbers_names_and_things() -> None:
    rows = [row for seed in range(40) for row in make_questions([PARAGRAPH], seed)]
    answers = {row["answers"]["text"][0] for row in rows}
    assert {"1066", "William", "Normandy", "Harold Godwinson", "Westminster Abbey", "narrow Channel", "21"} <= answers
    for row in rows:
        told = row["question"].lower()[:-1].split()
        assert row["context"] == PARAGRAPH
        assert row["answers"]["text"][0].lower() not in told
        assert {"who", "what", "which", "when", "where", "how"} & set(told)
    asked = {row["answers"]["text"][0]: row["question"] for row in rows}
    assert "when" in asked["1066"].lower()
    assert "how m" in asked["21"].lower()


def test_the_same_text_and_seed_give_the_same_rows() -> None:
    assert list(make_questions([PARAGRAPH] * 5, 3)) == list(make_questions([PARAGRAPH] * 5, 3))
    assert list(make_questions([PARAGRAPH] * 5, 3)) != list(make_questions([PARAGRAPH] * 5, 4))


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    rows = [row for seed in range(20) for row in make_questions([" ".join([PARAGRAPH] * 6)], seed)]
    assert rows
    assert {row["context"][-1] for row in rows} == {"."}
    assert all(row["context"] in " ".join([PARAGRAPH] * 6) for row in rows)


def test_the_command_writes_what_the_job_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lzma.open(tmp_path / "notes.txt.xz", "wt", encoding="utf-8") as file:
        file.write(f"A line.\n{PARAGRAPH}\n" * 10)
    output = tmp_path / "made/questions.jsonl"
    assert main(["--text", str(tmp_path / "notes.txt.xz"), "--output", str(output), "--rows", "7"]) == 0
    assert capsys.readouterr().out == f"{output}: 7 rows\n"
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert len({row["id"] for row in rows}) == len(rows) == 7
    assert set(rows[0]) == {"id", "context", "question", "answers"}


def test_what_cannot_be_used_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = tmp_path / "short.txt"
    short.write_text("One sentence. Another one.\n", encoding="utf-8")
    assert main(["--text", str(short), "--output", str(tmp_path / "out.jsonl")]) == 1
    assert "expected paragraphs of two or more sentences and 45 or more words, one a line" in capsys.readouterr().err
    assert main(["--text", str(tmp_path / "absent.txt"), "--output", str(tmp_path / "out.jsonl")]) == 1
    assert "absent.txt: expected a readable text file" in capsys.readouterr().err
    short.write_text(f"{PARAGRAPH}\n", encoding="utf-8")
    with pytest.raises(FinetuneError, match="expected a file that can be written"):
        write_questions([short], short / "out.jsonl", None, 17)
    with pytest.raises(SystemExit):
        main(["--text", str(short), "--output", str(tmp_path / "out.jsonl"), "--rows", "0"])
    assert "expected a whole number of 1 or more, found 0" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()
