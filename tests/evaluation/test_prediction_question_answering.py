"""Predicted answers, against transformers; the forms of right answers; what is rejected and counted."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from evaluation.predict.question_answering import answers_of

CONTEXT = "The cat sat on the warm mat and looked at moon number 1234."
ANSWERS = {"text": ["The cat", "cat"], "answer_start": [0, 4]}


class Oracle:
    """transformers' own answer to a question whose context fits: the sum over the spans of the same words, whole and in lower case."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()

    def __call__(self, question: str, context: str) -> list[tuple[str, float]] | None:
        """Return the five best answers with their scores; None where it takes more than one window."""
        encoded = self.tokenizer(question, context, return_tensors="pt")
        if encoded.input_ids.shape[1] > 32:
            return None
        encoding = encoded.encodings[0]
        with torch.no_grad():
            output = self.model(**encoded)
        allowed = torch.tensor([index == 0 or part == 1 for index, part in enumerate(encoding.sequence_ids)])
        ends = [
            logits[0].masked_fill(~allowed, -1e9).softmax(-1) for logits in (output.start_logits, output.end_logits)
        ]
        spans = torch.triu(torch.outer(*ends)).tril(29)
        spans[0] = 0
        scores: dict[str, float] = {}
        for place in spans.flatten().topk(20).indices.tolist():
            first, last = divmod(place, len(allowed))
            words = [encoding.token_to_word(token) for token in (first, last)]
            start, end = (encoding.word_to_chars(word, 1)[side] for side, word in enumerate(words))
            same = context[start:end].lower()
            scores[same] = scores.get(same, 0) + spans[first, last].item()
        return sorted(scores.items(), key=lambda item: -item[1])[:5]


def test_answers_and_scores_are_those_of_transformers(
    predict: Callable[..., Any], sharp_reader: Path, lines: list[str]
) -> None:
    rows = [
        {"question": f"Who sat {n}?", "context": line[:40], "answers": ANSWERS} for n, line in enumerate(lines[:40])
    ]
    ran = predict("question-answering", sharp_reader, rows)
    assert ran["ground_truth"] == [{"answers": ANSWERS}] * 40
    oracle = Oracle(sharp_reader)
    compared = 0
    for number, row in enumerate(rows):
        prediction, found = ran["predictions"][number], ran["prediction_probabilities"][number]
        assert prediction["predictions"] == row["context"][found["start"] : found["end"]]
        assert [prediction["line"], found["line"]] == [number + 1] * 2
        assert (prediction["question"], prediction["context"]) == (row["question"], row["context"])
        expected = oracle(row["question"], row["context"])
        if expected:
            assert prediction["predictions"].lower() == expected[0][0]
            assert [answer.lower() for answer, _ in prediction["top"]] == [answer for answer, _ in expected]
            assert [score for _, score in prediction["top"]] == pytest.approx([s for _, s in expected], abs=1e-4)
            assert prediction["top"][0] == [prediction["predictions"], found["score"]]
            compared += 1
    assert compared > 10


def test_a_long_context_is_read_in_windows_and_counted(predict: Callable[..., Any], sharp_reader: Path) -> None:
    contexts = ["The cat sat.", CONTEXT * 4]
    rows = [{"question": "Who sat?", "context": context, "answers": "cat"} for context in contexts]
    ran = predict("question-answering", sharp_reader, rows)
    assert ran.summary["windowed_rows"] == 1
    assert ran["ground_truth"][0] == {"answers": {"text": ["cat"], "answer_start": [4]}}


def test_the_longest_answer_is_a_setting(predict: Callable[..., Any], make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint(task="question-answering", initializer_range=0.5, max_position_embeddings=64)
    context = " ".join(["the", "cat", "sat", "on", "mat", "and", "dog"] * 7)
    rows = [{"question": f"Who sat on {n}?", "context": context, "answers": "cat"} for n in range(30)]

    def longest(*config: str) -> int:
        ran = predict("question-answering", folder, rows, *config)
        return max(len(answer.split()) for row in ran["predictions"] for answer, _ in row["top"])

    assert 15 < longest() <= 30
    assert longest("--evaluation-config-params", '{"max_answer_length": 3}') == 3


def test_a_row_that_cannot_be_used_is_rejected(predict: Callable[..., Any], sharp_reader: Path) -> None:
    good = {"question": "Who sat?", "context": CONTEXT, "answers": ANSWERS}
    bad = [
        ({**good, "question": None}, "not_text"),
        ({**good, "question": " "}, "empty_text"),
        ({**good, "context": ""}, "empty_text"),
        ({**good, "question": "\x01"}, "empty_question"),
        ({**good, "context": "\x01"}, "empty_context"),
        ({**good, "question": "who " * 30}, "question_too_long"),
        ({**good, "answers": 5}, "invalid_label"),
        ({**good, "answers": {"text": ["a"], "answer_start": [1, 2]}}, "invalid_label"),
        ({**good, "answers": {"text": [], "answer_start": []}}, "no_answer"),
        ({**good, "answers": " "}, "no_answer"),
        ({"question": "Who?", "context": CONTEXT}, "missing_column"),
    ]
    elsewhere = {**good, "answers": "not in it"}  # no error: it is a row that cannot be answered rightly
    rows = [one for row, _ in bad for one in (good, row)]
    ran = predict("question-answering", sharp_reader, [*rows, elsewhere])
    assert ran.status == 0
    assert ran.codes == [(2 * number, code) for number, (_, code) in enumerate(bad, 1)]
    assert len(ran["predictions"]) == len(bad) + 1
    assert len({row["predictions"] for row in ran["predictions"]}) == 1
    assert ran["ground_truth"][-1] == {"answers": {"text": ["not in it"], "answer_start": [-1]}}


@pytest.mark.parametrize(
    "value",
    [
        ANSWERS,
        '{"text": ["The cat", "cat"], "answer_start": [0, 4]}',
        ["The cat", "cat"],
        [{"text": "The cat", "answer_start": 0}, {"text": "cat", "answer_start": 4}],
        {"text": ["The cat", "cat"]},
        '["The cat", "cat"]',
        '[{"text": "The cat", "answer_start": 0}, {"text": "cat", "answer_start": 4}]',
    ],
)
def test_right_answers_are_read_in_every_form(value: object) -> None:
    assert answers_of(value, CONTEXT) == ANSWERS


@pytest.mark.parametrize("value", [None, 5, [5], {}, {"text": 5}, {"text": ["a"], "answer_start": 1.5}, [{"a": 1}]])
def test_what_is_no_answer_is_none(value: object) -> None:
    assert answers_of(value, CONTEXT) is None


@pytest.mark.parametrize(
    "printed",
    [
        "{'text': array(['Paris'], dtype=object), 'answer_start': array([6])}",
        "{'text': ['Paris'], 'answer_start': [6]}",
        '{"answer_start": [6], "text": ["Paris"]',
        "['Paris']",
        "['Paris'\n 'Lyon']",
    ],
)
def test_what_python_prints_is_rejected_and_no_answer(
    predict: Callable[..., Any], sharp_reader: Path, printed: str, tmp_path: Path
) -> None:
    assert answers_of(printed, CONTEXT) is None
    file = tmp_path / "rows.csv"
    with file.open("w", newline="") as opened:
        rows = [("question", "context", "answers"), ("Who sat?", CONTEXT, "The cat"), ("Who sat?", CONTEXT, printed)]
        csv.writer(opened).writerows(rows)
    ran = predict("question-answering", sharp_reader, file)
    assert [code for _, code in ran.codes] == ["invalid_label"]
    assert ran["rejects"][0]["message"].endswith("that is not JSON; write it as JSON does")


@pytest.mark.parametrize("answer", ["{a, b}", "{", "[sic]", "[1, 2]", "[5]", "1990", "true"])
def test_an_answer_may_have_braces_and_brackets(answer: str) -> None:
    assert answers_of(answer, CONTEXT) == {"text": [answer], "answer_start": [-1]}


@given(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: not text.lstrip().startswith(("{", "["))))
def test_a_text_is_one_answer(text: str) -> None:
    found = answers_of(text, CONTEXT + text)
    assert found is not None
    assert found["text"] == [text]
    assert (CONTEXT + text)[found["answer_start"][0] :].startswith(text)
