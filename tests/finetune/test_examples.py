from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import RowError
from finetune.prepare.examples import Example, digest_of
from finetune.tasks.task import tuning_task
from serving.tasks import Task
from tables.rows import Reject, Row

LABELED = {"sentence1_key": "a", "sentence2_key": "b", "label_key": "l"}
QUESTIONS = {
    "question_key": "q",
    "context_key": "c",
    "answers_key": "as",
    "answer_start_key": "start",
    "answer_text_key": "text",
}
CONTEXT = "Paris is the capital of France. 🎉 Lyon is not, and Paris is large."


def example_of(row: Row, task: Task, columns: dict[str, str]) -> Example | Reject:
    try:
        return tuning_task(task).example(row, columns)
    except RowError as exc:
        return row.reject(exc.code, str(exc))


def question(answers: object, context: object = CONTEXT, asked: object = "Where?") -> Example | Reject:
    return example_of(Row("f.csv", 7, {"q": asked, "c": context, "as": answers}), "question-answering", QUESTIONS)


def answers_of(found: Example | Reject) -> dict[str, Any]:
    assert isinstance(found, Example)
    return found.record["answers"]


def code_of(found: Example | Reject) -> str:
    assert isinstance(found, Reject)
    assert (found.file, found.line) == ("f.csv", 7)
    return found.code


def test_a_row_with_a_label_is_written_as_training_reads_it() -> None:
    found = example_of(Row("f.csv", 7, {"a": "x", "b": " y", "l": 1}), "text-classification", LABELED)
    assert isinstance(found, Example)
    assert found.record == {"text": "x", "text_pair": " y", "label": "1"}


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"a": "", "b": "y", "l": 1}, "empty_text"),
        ({"a": "x", "b": " ", "l": 1}, "empty_text"),
        ({"a": None, "b": "y", "l": 1}, "missing_text"),
        ({"a": float("nan"), "b": "y", "l": 1}, "missing_text"),
        ({"a": 5, "b": "y", "l": 1}, "not_a_text"),
        ({"a": ["x"], "b": "y", "l": 1}, "not_a_text"),
        ({"a": "\udc00", "b": "y", "l": 1}, "invalid_encoding"),
        ({"a": "x", "b": "y", "l": None}, "missing_label"),
    ],
)
def test_a_row_without_texts_or_label_is_none(values: dict[str, Any], code: str) -> None:
    assert code_of(example_of(Row("f.csv", 7, values), "text-classification", LABELED)) == code


@pytest.mark.parametrize(
    "answers",
    [
        {"text": ["Lyon"], "start": [34]},
        {"text": "Lyon", "start": 34},
        {"text": ["Lyon"], "start": [34.0]},
        {"text": ["Lyon"], "start": ["34"]},
        [{"text": "Lyon", "start": 34}],
        '{"text": ["Lyon"], "start": [34]}',
        '[{"text": "Lyon", "start": 34}]',
    ],
)
def test_answers_are_read_in_every_form(answers: object) -> None:
    found = question(answers)
    assert answers_of(found) == {"text": ["Lyon"], "answer_start": [34]}
    assert not found.repaired
    assert found.record["id"] == "f.csv:7"


def test_an_offset_that_is_off_is_repaired_where_the_answer_is_once() -> None:
    found = question({"text": ["Lyon"], "start": [35]})  # in UTF-16, where the emoji is two
    assert answers_of(found) == {"text": ["Lyon"], "answer_start": [34]}
    assert found.repaired


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ({"text": ["Nice"], "start": [0]}, "answer_not_in_context"),
        ({"text": ["Paris"], "start": [1]}, "answer_not_at_start"),
        ({"text": ["Paris"], "start": [-67]}, "answer_not_at_start"),
        ({"text": [], "start": []}, "no_answer"),
        ({"text": [""], "start": [0]}, "no_answer"),
        ([], "no_answer"),
        (None, "no_answer"),
        ("", "no_answer"),
        ({"text": ["Lyon", "Paris"], "start": [34]}, "invalid_answers"),
        ({"text": ["Lyon", ""], "start": [34, 0]}, "invalid_answers"),
        ({"text": ["Lyon"]}, "invalid_answers"),
        ({"text": ["Lyon"], "start": [True]}, "invalid_answers"),
        ({"text": ["Lyon"], "start": [None]}, "invalid_answers"),
        ({"text": ["Lyon"], "start": ["9" * 5000]}, "invalid_answers"),
        ({"text": [5], "start": [0]}, "invalid_answers"),
        ("Lyon", "invalid_answers"),
        (["Lyon"], "invalid_answers"),
        ("{'text': array(['Lyon']), 'start': array([34])}", "invalid_answers"),
    ],
)
def test_answers_that_cannot_be_used_are_told(answers: object, code: str) -> None:
    assert code_of(question(answers)) == code


def test_overlapping_places_are_several() -> None:
    assert code_of(question({"text": "aa", "start": 9}, context="aaab")) == "answer_not_at_start"


@pytest.mark.parametrize("part", [{"context": " "}, {"asked": ""}, {"asked": None}])
def test_a_question_or_context_that_is_empty_is_told(part: dict[str, Any]) -> None:
    assert code_of(question({"text": ["Lyon"], "start": [34]}, **part)) in ("empty_text", "missing_text")


def test_messages_name_the_keys_and_never_the_text() -> None:
    found = question({"text": ["secret"], "begin": [3]})
    assert isinstance(found, Reject)
    assert found.message.endswith("found no start 'start'; set answer_text_key and answer_start_key")
    for answers in ({"text": ["secret"], "start": [3]}, "secret", {"text": ["secret", "b"], "start": [3]}):
        found = question(answers, context="secret secret")
        assert isinstance(found, Reject)
        assert "secret" not in found.message


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(TEXT, TEXT.filter(str.strip), TEXT, st.integers(-5, 20))
def test_a_row_that_is_kept_has_its_answers_where_they_say(before: str, answer: str, after: str, start: int) -> None:
    found = question({"text": [answer], "start": [start]}, context=before + answer + after)
    if isinstance(found, Example):
        place = found.record["answers"]["answer_start"][0]
        assert found.record["context"][place : place + len(answer)] == answer
        assert found.repaired == (place != start)
    else:
        assert found.code == "answer_not_at_start"


@given(TEXT, TEXT)
def test_texts_are_told_apart_wherever_they_are_cut(first: str, second: str) -> None:
    assert digest_of(first, second) == digest_of(first, second)
    assert digest_of(first, second) != digest_of(first + second)
    assert digest_of(first + second, "") != digest_of(first, second)
