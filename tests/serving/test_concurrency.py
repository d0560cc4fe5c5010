"""Requests that share a batch with others get the answers that they get alone, and their own errors only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.answering.fill_mask import Candidate, FillMask
from serving.errors import DeadlineExceeded
from serving.model.tokenizer import Passage
from serving.requests.call import calling

WORDS = ("the", "cat", "dog", "bird", "sat", "on", "roof", "garden", "moon", "number", "1234")


@pytest.fixture(scope="module")
def model(sharp_checkpoint: Path) -> FillMask:
    """Load a tiny model that takes 3 ms a batch: as it is, it would be done before another request arrives."""
    model = FillMask.load(sharp_checkpoint, "fp32")
    run_batch = model.engine._batcher._run_batch

    def slowly(rows: list[Passage]) -> Sequence[object]:
        time.sleep(0.003)
        return run_batch(rows)

    model.engine._batcher._run_batch = slowly
    return model


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Draw a text with one to three masks, of up to twice the model's 32 positions."""
    words = draw(st.lists(st.sampled_from(WORDS), max_size=draw(st.sampled_from([3, 20, 60]))))
    for _ in range(draw(st.integers(1, 3))):
        words.insert(draw(st.integers(0, len(words))), "[MASK]")
    return " ".join(words)


REQUESTS = st.tuples(
    st.lists(texts(), min_size=1, max_size=6),
    st.integers(1, 20),
    st.none() | st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique=True),
)


def plain(filled: Sequence[Sequence[Sequence[Candidate]]]) -> list[list[list[tuple[object, object]]]]:
    """Return each candidate's word and its score, to be compared within 1e-5."""
    return [
        [[(word.token_str, pytest.approx(word.score, rel=1e-4, abs=1e-5)) for word in mask] for mask in masks]
        for masks in filled
    ]


def test_requests_at_the_same_time_get_the_answers_that_they_get_alone(
    model: FillMask,
) -> None:
    strangers = []

    @given(requests=st.lists(REQUESTS, min_size=2, max_size=8))
    @settings(max_examples=25)
    def holds(requests: list[tuple[list[str], int, list[str] | None]]) -> None:
        def fill(request: tuple[list[str], int, list[str] | None]) -> tuple[object, int]:
            with calling(60) as call:
                filled = model.fill(*request)
            return [[[(w.token_str, w.score) for w in mask] for mask in masks] for masks in filled], call.batch_rows

        alone = [(plain(model.fill(*request)), fill(request)[1]) for request in requests]
        with ThreadPoolExecutor(len(requests)) as pool:
            found = list(pool.map(fill, requests))
        for (answer, rows), (answer_alone, rows_alone) in zip(found, alone, strict=True):
            assert answer == answer_alone
            strangers.append(rows > rows_alone)

    holds()
    assert sum(strangers) > len(strangers) / 3, "expected most requests to share a batch"


def test_an_input_that_the_model_fails_on_fails_its_own_request_only(
    model: FillMask, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = Passage([2, 10, 4, 11, 3], [2]), Passage([2, 1_000_000, 4, 11, 3], [2])
    alone = model.engine.run([good])
    rows, together = [[good], [good, bad], [good], [good]], Barrier(4)

    def run(passages: list[Passage]) -> object:
        together.wait(20)
        try:
            return model.engine.run(passages)
        except Exception as exc:
            return str(exc)

    for _ in range(20):  # each time, the four share batches in another way
        with ThreadPoolExecutor(4) as pool:
            first, failed, *rest = pool.map(run, rows)
        assert "indices element out of data bounds" in str(failed)
        for found in (first, *rest):
            assert isinstance(found, list)
            assert [(mask.tokens, mask.target_scores) for mask in found[0]] == [(alone[0][0].tokens, [])]
    assert "each is run alone" in caplog.text


def test_a_call_ends_at_its_deadline_and_counts_what_it_took(model: FillMask) -> None:
    with calling(20) as call:
        model.fill(["the [MASK] sat"] * 3)
    assert call.batch_rows == 3
    assert call.compute_seconds > 0 < call.tokenize_seconds
    with calling(-1), pytest.raises(DeadlineExceeded):
        model.fill(["the [MASK] sat"])
    start = time.monotonic()
    model.fill(["the [MASK] sat"])  # outside of a call there is no deadline
    assert time.monotonic() - start < 20
