"""Questions to windows and back: exact characters, nothing lost in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from finetune.settings import FeatureSettings
from finetune.train.question_windows import answer_tokens, question_windows, window_starts
from serving.model.tokenizer import PairTokenizer

CONTEXT = "The cat sat on the warm mat.  A dog looked at the moon, and the bird sat on the cold roof."


@pytest.fixture(scope="session")
def tokenizer(checkpoint: Path) -> Callable[[int], PairTokenizer]:
    """Make the tiny checkpoint's tokenizer with windows of so many tokens."""
    return lambda length: PairTokenizer(checkpoint / "tokenizer.json", 200, length)


def row(answer: str, context: str = CONTEXT, question: str = "Who sat?", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    answers = {"text": [answer], "answer_start": [context.index(answer)]}
    return {"id": "q1", "question": question, "context": context, "answers": answers, **more}


def perfect(found: Any) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN401
    """Return logits that name each window's labels."""
    width = int(found.tokens.lengths().max()) + 2
    logits = np.full((2, len(found.tokens), width), -9, np.float32)
    for index in range(len(found.tokens)):
        labels = found.tokens[index]
        logits[0, index, labels["start_positions"]] = logits[1, index, labels["end_positions"]] = 9
    return logits[0], logits[1]


@given(
    words=st.tuples(st.integers(0, 18), st.integers(0, 3)), length=st.integers(20, 60), doc_stride=st.integers(6, 20)
)
def test_what_is_labelled_is_the_answer_to_the_character(
    tokenizer: Callable[[int], PairTokenizer], words: tuple[int, int], length: int, doc_stride: int
) -> None:
    spans = [(at, at + len(word)) for at, word in _words(CONTEXT)]
    first = spans[min(words[0], len(spans) - 1)]
    last = spans[min(words[0] + words[1], len(spans) - 1)]
    answers = {"text": [CONTEXT[first[0] : last[1]]], "answer_start": [first[0]]}
    question = {"id": "q", "question": "Who sat?", "context": CONTEXT, "answers": answers}
    features = FeatureSettings(doc_stride=doc_stride)
    found = question_windows([question], tokenizer(length), features, training=True)
    if found.left_out.rows:
        assert len(found.tokens) == 0
        return
    assert found.answers(*perfect(found), FeatureSettings())[0] == answers["text"][0]


def _words(text: str) -> list[tuple[int, str]]:
    found, at = [], 0
    for word in text.split():
        at = text.index(word, at)
        found.append((at, word))
        at += len(word)
    return found


def test_windows_are_those_of_transformers(checkpoint: Path, tokenizer: Callable[[int], PairTokenizer]) -> None:
    found = question_windows([row("warm mat")], tokenizer(24), FeatureSettings(doc_stride=4), training=False)
    theirs = AutoTokenizer.from_pretrained(checkpoint)(
        "Who sat?",
        CONTEXT,
        truncation="only_second",
        max_length=24,
        stride=4,
        return_overflowing_tokens=True,
        return_token_type_ids=True,
    )
    assert [found.tokens[index]["input_ids"].tolist() for index in range(len(found.tokens))] == theirs.input_ids
    assert [found.tokens[index]["token_type_ids"].tolist() for index in range(len(found.tokens))] == (
        theirs.token_type_ids
    )


@given(tokens=st.integers(1, 300), room=st.integers(1, 60), doc_stride=st.integers(1, 80))
def test_windows_cover_every_token_and_move_on(tokens: int, room: int, doc_stride: int) -> None:
    firsts = window_starts(tokens, room, doc_stride)
    covered = {token for first in firsts for token in range(first, min(tokens, first + room))}
    assert covered == set(range(tokens))
    assert all(later > earlier for earlier, later in zip(firsts, firsts[1:], strict=False))
    assert all(first < tokens for first in firsts)


def test_a_question_that_fills_the_window_is_left_out_and_counted_wrong(
    tokenizer: Callable[[int], PairTokenizer],
) -> None:
    rows = [row("cat", question="sat " * 30), row("cat", id="q2")]
    found = question_windows(rows, tokenizer(30), FeatureSettings(doc_stride=4), training=True)
    assert list(found.left_out.lines()) == [
        "left out 1 of the training questions: the question alone fills the 30 tokens of max_seq_length (id q1)"
    ]
    measured = question_windows(rows, tokenizer(30), FeatureSettings(doc_stride=4), training=False)
    assert measured.answers(*perfect(measured), FeatureSettings()) == ["", "cat"]


def test_an_answer_that_no_window_has_whole_is_left_out_and_said(tokenizer: Callable[[int], PairTokenizer]) -> None:
    found = question_windows([row(CONTEXT[4:70])], tokenizer(20), FeatureSettings(doc_stride=4), training=True)
    assert len(found.tokens) == 0
    (line,) = found.left_out.lines()
    assert "no window has its whole answer; set a larger doc_stride or max_seq_length (id q1)" in line
    lost = row("cat")
    lost["answers"]["answer_start"] = [1000]
    found = question_windows([lost], tokenizer(60), FeatureSettings(), training=True)
    assert "its answer_start is not in the context (id q1)" in next(found.left_out.lines())


def test_an_answer_within_a_word_takes_the_words_tokens(tokenizer: Callable[[int], PairTokenizer]) -> None:
    (context,) = tokenizer(60).encode(["1234 cats"])
    first, last = answer_tokens({"text": ["23"], "answer_start": [1]}, context)
    assert context.spans[first][0] <= 1 and context.spans[last][1] >= 3
    assert answer_tokens({"text": [], "answer_start": []}, context) is None


def test_the_same_answer_in_two_windows_counts_as_one(tokenizer: Callable[[int], PairTokenizer]) -> None:
    found = question_windows([row("looked")], tokenizer(30), FeatureSettings(doc_stride=16), training=False)
    assert sum(found.tokens[index]["start_positions"] > 0 for index in range(len(found.tokens))) > 1
    assert found.answers(*perfect(found), FeatureSettings()) == ["looked"]
    shuffled = found.longest_first()
    assert shuffled.answers(*perfect(shuffled), FeatureSettings()) == ["looked"]


def test_the_loss_is_over_what_a_window_has(tokenizer: Callable[[int], PairTokenizer]) -> None:
    found = question_windows([row("cat", "The cat sat."), row("dog")], tokenizer(60), FeatureSettings(), training=False)
    starts, ends = perfect(found)
    padded = np.pad(starts, ((0, 0), (0, 7)), constant_values=50), np.pad(ends, ((0, 0), (0, 7)), constant_values=50)
    assert found.loss(*padded) == pytest.approx(found.loss(starts, ends))
    lengths = found.tokens.lengths()
    expected = np.mean([np.log1p((length - 1) * np.exp(-18)) for length in lengths])
    assert found.loss(starts, ends) == pytest.approx(expected, rel=1e-4)
