"""Requests of several threads share batches, and nothing else: neither waits, errors nor answers."""

from __future__ import annotations

import math
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.engine.batcher import BATCH_COST, Batcher, Bounds, Outcome, Weight
from serving.errors import DeadlineExceeded, QueueFull

BOUNDS = Bounds(tokens=1024, rows=32, work=100)
ROW = "a row of text"


class Model:
    """Stands in for the model: answers a text with itself in capitals, and keeps the batches that it was given."""

    def __init__(self, bounds: Bounds = BOUNDS, max_requests: int = 1000, seconds: float = 0.0) -> None:
        self.batches: list[list[str]] = []
        self.threads: list[int] = []
        self.seconds = seconds
        self.free = threading.Event()
        self.free.set()
        self.started = threading.Event()
        self._alone = threading.Lock()
        self.batcher = Batcher(self.run, lambda row: Weight(len(row), row.count("m")), bounds, max_requests)

    def run(self, rows: list[str]) -> list[str]:
        assert self._alone.acquire(blocking=False), "expected one batch at a time"
        try:
            self.batches.append(rows)
            self.threads.append(threading.get_ident())
            self.started.set()
            assert self.free.wait(20)
            time.sleep(self.seconds)
            if any("poison" in row for row in rows):
                raise ValueError("poison")
            if any("stop" in row for row in rows):
                raise SystemExit
            return [row.upper() for row in rows]
        finally:
            self._alone.release()

    def queued(
        self, requests: list[list[str]], deadlines: dict[int, float] | None = None
    ) -> list[Future[Outcome[str]]]:
        """Submit requests in this order while a batch of one row runs, and let it go; return what they come to."""
        pool = ThreadPoolExecutor(len(requests) + 1)
        self.free.clear()
        self.started.clear()
        first = pool.submit(self.batcher.submit, ["the row that keeps the model busy"])
        assert self.started.wait(20)
        futures = []
        for index, rows in enumerate(requests):
            deadline = time.monotonic() + (deadlines or {}).get(index, 1000)
            futures.append(pool.submit(self.batcher.submit, rows, deadline))
            wait_until(lambda count=index + 1: len(self.batcher._queue) == count)
        if deadlines:
            time.sleep(max(deadlines.values()))
        self.free.set()
        first.result(20)
        pool.shutdown()
        del self.batches[0]
        return futures


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.001)


def test_an_idle_model_runs_a_request_at_once_in_its_own_thread() -> None:
    model = Model()
    outcome = model.batcher.submit(["b", "aaa", "cc"])
    assert outcome.results == ["B", "AAA", "CC"]
    assert (outcome.batch_rows, model.threads) == (3, [threading.get_ident()])
    assert 0 <= outcome.queue_seconds < 5


def test_no_rows_have_no_results_and_run_nothing() -> None:
    model = Model()
    assert model.batcher.submit([]).results == []
    assert model.batches == []


def test_what_is_queued_while_the_model_is_busy_leaves_as_one_batch_in_order() -> None:
    model = Model()
    futures = model.queued([[f"row {n}"] for n in range(8)])
    assert model.batches == [[f"row {n}" for n in range(8)]]
    assert [future.result().results for future in futures] == [[f"ROW {n}"] for n in range(8)]
    assert {future.result().batch_rows for future in futures} == {8}


@pytest.mark.parametrize(
    ("bounds", "row", "size"),
    [(Bounds(100, 32, 100), "x" * 20, 5), (Bounds(1000, 3, 100), "x" * 20, 3), (Bounds(1000, 32, 7), "mm", 3)],
)
def test_a_batch_stays_within_each_of_its_bounds(bounds: Bounds, row: str, size: int) -> None:
    model = Model(bounds)
    model.queued([[row]] * 2 * size)
    assert [len(batch) for batch in model.batches] == [size, size]


def test_a_row_over_the_bounds_runs_alone() -> None:
    model = Model(Bounds(10, 4, 2))
    assert model.batcher.submit(["x" * 50, "mmmmm", "x"]).results == ["X" * 50, "MMMMM", "X"]
    assert sorted(map(len, model.batches)) == [1, 1, 1]


def test_rows_of_like_length_go_together_and_the_head_of_the_queue_goes_first() -> None:
    model = Model(Bounds(4096, 64, 100))
    lengths = [12, 300] * 8
    model.queued([["x" * length] for length in lengths])
    assert [[len(row) for row in batch] for batch in model.batches] == [[12] * 8, [300] * 8]


def test_rows_of_any_length_go_together_where_none_is_padded() -> None:
    model = Model(Bounds(4096, 64, 100, padding=False))
    lengths = [12, 300] * 8
    model.queued([["x" * length] for length in lengths])
    assert [sorted(map(len, batch)) for batch in model.batches] == [sorted(lengths)]


def test_few_tokens_go_together_whatever_their_lengths() -> None:
    model = Model()
    model.queued([["x" * length] for length in (5, 12, 20)])
    assert [len(batch) for batch in model.batches] == [3]


def test_a_short_request_waits_for_one_batch_of_a_long_one() -> None:
    model = Model()
    many, one, two = model.queued([[f"{ROW} {n}" for n in range(1000)], [ROW], [ROW, ROW]])
    assert [batch.count(ROW) for batch in model.batches[:2]] == [3, 0]
    assert len(model.batches) == -(-1003 // BOUNDS.rows)
    assert many.result().results == [f"{ROW} {n}".upper() for n in range(1000)]
    assert (one.result().results, two.result().results) == ([ROW.upper()], [ROW.upper()] * 2)


def test_an_odd_length_waits_for_no_more_batches_than_requests_were_before_it() -> None:
    model = Model()
    model.queued([["x" * 10 for _ in range(1000)], ["y" * 10 for _ in range(1000)], ["z" * 500]])
    assert next(index for index, batch in enumerate(model.batches) if "z" * 500 in batch) <= 2


def test_an_expired_request_costs_no_compute_and_delays_nobody() -> None:
    model = Model()
    late, good = model.queued([["late"] * 100, ["good"]], {0: 0.5})
    with pytest.raises(DeadlineExceeded):
        late.result()
    assert good.result().results == ["GOOD"]
    assert model.batches == [["good"]]


def test_the_deadline_is_kept_while_the_requests_own_batch_runs() -> None:
    model = Model()
    model.free.clear()
    deadline = time.monotonic() + 2
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(model.batcher.submit, [ROW] * 100, deadline)
        assert model.started.wait(20)
        time.sleep(max(0.0, deadline - time.monotonic()))
        model.free.set()
        with pytest.raises(DeadlineExceeded):
            late.result(20)
    assert model.batcher.submit(["next"]).results == ["NEXT"]
    # Of the 100 rows, the one batch that was running; the others left the queue.
    assert [len(batch) for batch in model.batches] == [BOUNDS.rows, 1]


def test_a_waiting_request_is_told_at_its_deadline_not_at_the_end_of_the_batch() -> None:
    model = Model()
    model.free.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(model.batcher.submit, [ROW])
        assert model.started.wait(20)
        with pytest.raises(DeadlineExceeded):
            model.batcher.submit(["late"], time.monotonic() + 0.1)
        assert not first.done()
        model.free.set()
        assert first.result(20).results == [ROW.upper()]


def test_a_bad_row_fails_its_own_request_only() -> None:
    model = Model()
    before, bad, after = model.queued([["before"], ["fine", "poison"], ["after"]])
    assert (before.result().results, after.result().results) == (["BEFORE"], ["AFTER"])
    with pytest.raises(ValueError, match="poison"):
        bad.result()
    assert model.batches == [["before", "fine", "poison", "after"], ["before"], ["fine", "poison"], ["after"]]


def test_a_request_that_fails_alone_is_not_run_again_and_its_other_rows_leave() -> None:
    model = Model()
    with pytest.raises(ValueError, match="poison"):
        model.batcher.submit(["poison"] * 100)
    assert len(model.batches) == 1
    assert model.batcher.submit(["next"]).results == ["NEXT"]
    assert len(model.batches) == 2


def test_a_thread_that_is_stopped_leaves_nobody_waiting() -> None:
    model = Model()
    stopped, neighbor = model.queued([["stop"], ["neighbor"]])
    with pytest.raises(SystemExit):
        stopped.result()
    with pytest.raises(RuntimeError, match="was stopped"):
        neighbor.result()
    assert model.batcher.submit(["next"]).results == ["NEXT"]


def test_a_full_house_refuses_with_the_seconds_to_wait_and_places_come_free() -> None:
    model = Model(max_requests=3)
    with ExitStack() as places:
        for _ in range(3):
            places.enter_context(model.batcher.admitted())
        with pytest.raises(QueueFull) as caught, model.batcher.admitted():
            pass
        assert caught.value.headers == {"Retry-After": "1"}
    with model.batcher.admitted():
        pass


def test_retry_after_follows_the_measured_rate() -> None:
    model = Model(Bounds(1024, 1, 100), max_requests=1, seconds=0.4)
    first = model.batcher.submit(["one row"])
    model.seconds = 0.0
    model.free.clear()
    model.started.clear()
    with ThreadPoolExecutor(1) as pool:
        queued = pool.submit(model.batcher.submit, ["row"] * 200)
        assert model.started.wait(20)
        with model.batcher.admitted():
            with pytest.raises(QueueFull) as caught, model.batcher.admitted():
                pass
        model.free.set()
        queued.result()
    # An eighth of what the first row took, which was at least 0.4 s, for each of the 199 rows that no batch has yet.
    assert int(caught.value.headers["Retry-After"]) == math.ceil(first.compute_seconds / 8 * 199) >= 10


@contextmanager
def forked() -> Iterator[int]:
    """Fork; the child leaves with status 0 at the end of the body, or is killed after 10 seconds."""
    child = os.fork()
    if child == 0:
        signal.alarm(10)
    yield child


def test_a_child_of_a_busy_process_has_a_queue_of_its_own() -> None:
    model = Model(max_requests=1)
    model.free.clear()
    with ThreadPoolExecutor(2) as pool, model.batcher.admitted():
        busy = pool.submit(model.batcher.submit, ["busy"])
        assert model.started.wait(20)
        waiting = pool.submit(model.batcher.submit, ["waiting"])
        wait_until(lambda: bool(model.batcher._queue))
        with model.batcher._lock, forked() as child:
            if child == 0:
                status = 1
                try:
                    model.free.set()
                    model._alone = threading.Lock()
                    with model.batcher.admitted():
                        status = int(model.batcher.submit(["child"]).results != ["CHILD"])
                finally:
                    os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        model.free.set()
        assert (busy.result().results, waiting.result().results) == (["BUSY"], ["WAITING"])


LENGTHS = st.lists(st.lists(st.integers(1, 60), max_size=12), min_size=1, max_size=8)


@given(requests=LENGTHS, rows=st.integers(1, 8), tokens=st.integers(1, 300))
@settings(max_examples=50)
def test_any_requests_get_their_own_answers_from_batches_within_bounds(
    requests: list[list[int]], rows: int, tokens: int
) -> None:
    model = Model(Bounds(tokens, rows, 1000), seconds=0.0001)
    texts = [[f"{index}." + "x" * length for length in lengths] for index, lengths in enumerate(requests)]
    with ThreadPoolExecutor(len(texts)) as pool:
        found = list(pool.map(lambda one: model.batcher.submit(one).results, texts))
    assert found == [[text.upper() for text in one] for one in texts]
    assert sorted(row for batch in model.batches for row in batch) == sorted(row for one in texts for row in one)
    for batch in model.batches:
        lengths = [len(row) for row in batch]
        padded = len(batch) * max(lengths)
        assert len(batch) == 1 or (len(batch) <= rows and padded <= tokens)
        assert len(batch) == 1 or padded - sum(lengths) <= BATCH_COST + sum(lengths) / 8


def test_a_crowd_with_short_deadlines_and_bad_rows_all_get_an_answer() -> None:
    model = Model(seconds=0.002)
    draw = random.Random(17)
    plans = [(draw.choice([1, 1, 1, 50]), draw.choice([0.005, 0.05, 20]), draw.random() < 0.1) for _ in range(300)]

    def one(plan: tuple[int, float, bool]) -> str:
        count, seconds, bad = plan
        rows = ["poison" if bad else ROW] * count
        try:
            assert model.batcher.submit(rows, time.monotonic() + seconds).results == [ROW.upper()] * count
        except DeadlineExceeded:
            return "late"
        except ValueError:
            return "bad"
        return "good"

    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(one, plans))
    assert all(answer == "late" or (answer == "bad") == bad for answer, (_, _, bad) in zip(found, plans, strict=True))
    assert all(answer != "late" for answer, (_, seconds, _) in zip(found, plans, strict=True) if seconds == 20)
    assert {"good", "bad", "late"} <= set(found)
    assert not model.batcher._queue
