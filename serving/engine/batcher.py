"""Batches across requests: the rows of requests that wait at the same time go through the model together.

There is no timer and no thread of its own. A request's thread that finds the model free takes the next batch and runs
it, so an idle server adds no wait; the others wait, and what they queued leaves as one batch the moment it is done.
Whoever ran a batch hands on as soon as its own rows are answered.

Who goes next: requests take turns. The one at the head of the queue is always in the next batch, with one row, then
each of those behind it with one, then again from the head, until the batch is full; those in it with rows left queue up
at the end. So nobody waits for more batches than there were requests before it, however many rows those have.

What goes together: rows of like length, where they are padded to the longest. A batch costs about as much as its padded
tokens (rows x longest row) and BATCH_COST more, so a row is taken along while the padding of the batch stays below
BATCH_COST and an eighth of its tokens; a request whose next row would break that, or a bound, waits for a later batch.

A batch that fails is run again request by request, so that only the request at fault gets the error.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from serving.errors import DeadlineExceeded, QueueFull

logger = logging.getLogger("serving.engine.batcher")

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH_COST = 48
"""What a batch costs beside its tokens, in tokens: BERT-base in int8 on two cores takes 2.8 ms + 0.055 ms a token."""


class Weight(NamedTuple):
    """What a row adds to a batch: its tokens, and another kind of work that is bounded, such as its masks."""

    tokens: int
    work: int


class Bounds(NamedTuple):
    """What a batch may hold: padded tokens (rows x longest row), rows, work. One row alone may be over them.

    Where what runs the batch takes rows as long as they are, without `padding`, rows of any length go together.
    """

    tokens: int
    rows: int
    work: int
    padding: bool = True


class Outcome(NamedTuple, Generic[Result]):
    """A result for each item in its order; the seconds they waited and ran, and the rows of their largest batch."""

    results: list[Result]
    queue_seconds: float
    compute_seconds: float
    batch_rows: int


@dataclass(eq=False)
class _Request(Generic[Item, Result]):
    """A request in the queue: its rows by index, longest first, so that the next one, the shortest, is the last."""

    items: Sequence[Item]
    weights: list[Weight]
    rows: list[int]
    deadline: float
    changed: threading.Condition
    results: dict[int, Result] = field(default_factory=dict)
    error: Exception | None = None
    compute_seconds: float = 0.0
    batch_rows: int = 0

    @property
    def answered(self) -> bool:
        return self.error is not None or len(self.results) == len(self.items)


@dataclass
class _Load:
    """What is in a batch while it is filled."""

    rows: int = 0
    tokens: int = 0
    longest: int = 0
    work: int = 0

    def add(self, weight: Weight, bounds: Bounds) -> bool:
        """Add a row if it is the first, or stays in the bounds with little padding; tell whether it was added."""
        rows, tokens, work = self.rows + 1, self.tokens + weight.tokens, self.work + weight.work
        longest = max(self.longest, weight.tokens)
        padded = rows * longest if bounds.padding else tokens
        fits = rows <= bounds.rows and padded <= bounds.tokens and work <= bounds.work
        if self.rows and not (fits and padded - tokens <= BATCH_COST + tokens / 8):
            return False
        self.rows, self.tokens, self.longest, self.work = rows, tokens, longest, work
        return True


_Batch: TypeAlias = dict[_Request[Item, Result], list[int]]
_Answers: TypeAlias = dict[_Request[Item, Result], Sequence[Result] | Exception]


class Batcher(Generic[Item, Result]):
    """Runs items through `run_batch`, those of several threads together; safe to share between them and across a fork.

    `run_batch` takes items and returns a result for each in their order; it is never called twice at the same time.
    """

    def __init__(
        self,
        run_batch: Callable[[list[Item]], Sequence[Result]],
        weigh: Callable[[Item], Weight],
        bounds: Bounds,
        max_requests: int,
    ) -> None:
        """Keep what to do; nothing runs before the first `submit`. `max_requests` is of `admitted`."""
        self._run_batch = run_batch
        self._weigh = weigh
        self._bounds = bounds
        self._max_requests = max_requests
        self._reset()
        # What other threads of the parent held or waited for would stay held in a child.
        reset = weakref.WeakMethod(self._reset)
        os.register_at_fork(after_in_child=lambda: (method := reset()) and method())

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._queue: dict[_Request[Item, Result], None] = {}  # in order, those with rows that no batch has taken yet
        self._busy = False
        self._admitted = 0
        self._row_seconds = 0.0

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Hold a place for a request, from before any work is spent on it until it is answered; raises QueueFull."""
        with self._lock:
            if self._admitted >= self._max_requests:
                raise QueueFull(self._row_seconds * sum(len(request.rows) for request in self._queue))
            self._admitted += 1
        try:
            yield
        finally:
            with self._lock:
                self._admitted -= 1

    def submit(self, items: Sequence[Item], deadline: float = math.inf) -> Outcome[Result]:
        """Return the items' results; they share batches with those of other threads. `deadline` is monotonic time.

        Raises DeadlineExceeded where they are not all there in time, and what `run_batch` raises for these items alone.

        Batcher(lambda rows: [row.upper() for row in rows], lambda row: Weight(len(row), 0), …).submit(["a", "b"])
        -> Outcome(results=["A", "B"], queue_seconds=0.0, compute_seconds=1e-5, batch_rows=2)
        """
        start = time.monotonic()
        weights = [self._weigh(item) for item in items]
        rows = sorted(range(len(items)), key=lambda index: -weights[index].tokens)
        request = _Request[Item, Result](items, weights, rows, deadline, threading.Condition(self._lock))
        with self._lock:
            if rows:
                self._queue[request] = None
            try:
                self._wait_or_lead(request)
            finally:
                self._queue.pop(request, None)
                if not self._busy:
                    self._wake_head()
        if request.error is not None:
            raise request.error
        queue_seconds = time.monotonic() - start - request.compute_seconds
        results = [request.results[index] for index in range(len(items))]
        return Outcome(results, queue_seconds, request.compute_seconds, request.batch_rows)

    def _wait_or_lead(self, request: _Request[Item, Result]) -> None:
        while not request.answered:
            left = request.deadline - time.monotonic()
            if left <= 0:
                break
            if self._busy:
                request.changed.wait(min(left, threading.TIMEOUT_MAX))
            else:
                self._lead()
        if request.error is None and time.monotonic() >= request.deadline:
            raise DeadlineExceeded

    def _wake_head(self) -> None:
        for request in self._queue:
            request.changed.notify()
            break

    def _lead(self) -> None:
        """Run one batch and hand out its results; the lock is held before and after, not while it runs."""
        batch = self._take()
        answers: _Answers[Item, Result] = dict.fromkeys(
            batch, RuntimeError("the thread that ran the batch was stopped")
        )
        self._busy = True
        self._lock.release()
        start = time.monotonic()
        try:
            answers = self._answers(batch)
        finally:
            seconds = time.monotonic() - start
            self._lock.acquire()
            self._busy = False
            self._hand_out(batch, answers, seconds)

    def _hand_out(self, batch: _Batch[Item, Result], answers: _Answers[Item, Result], seconds: float) -> None:
        size = sum(map(len, batch.values()))
        if size:
            self._row_seconds += (seconds / size - self._row_seconds) / 8
        for request, answer in answers.items():
            request.compute_seconds += seconds
            request.batch_rows = max(request.batch_rows, size)
            if isinstance(answer, Exception):
                request.error = answer
                self._queue.pop(request, None)
            else:
                request.results.update(zip(batch[request], answer, strict=True))
            if request.answered:
                request.changed.notify()

    def _answers(self, batch: _Batch[Item, Result]) -> _Answers[Item, Result]:
        """Return the results of each request's rows, or its error; none for one that expired before it was run alone."""
        try:
            return self._run(batch)
        except Exception as exc:
            if len(batch) == 1:
                return dict.fromkeys(batch, exc)
            logger.warning("a batch of %d requests failed with %s; each is run alone", len(batch), type(exc).__name__)
        answers: _Answers[Item, Result] = {}
        for request, rows in batch.items():
            if request.deadline > time.monotonic():
                try:
                    answers |= self._run({request: rows})
                except Exception as exc:
                    answers[request] = exc
        return answers

    def _run(self, batch: _Batch[Item, Result]) -> _Answers[Item, Result]:
        items = [request.items[index] for request, rows in batch.items() for index in rows]
        results = iter(self._run_batch(items))
        return {request: list(itertools.islice(results, len(rows))) for request, rows in batch.items()}

    def _take(self) -> _Batch[Item, Result]:
        """Take the next batch from the queue, in turns; those in it with rows left go to the end."""
        now = time.monotonic()
        batch: _Batch[Item, Result] = {}
        load = _Load()
        turn = [request for request in self._queue if request.deadline > now]
        while turn and load.rows < self._bounds.rows:
            turn = [request for request in turn if self._take_row(request, batch, load)]
        for request in batch:
            del self._queue[request]
            if request.rows:
                self._queue[request] = None
        return batch

    def _take_row(self, request: _Request[Item, Result], batch: _Batch[Item, Result], load: _Load) -> bool:
        """Take a request's next row where the batch has room for it; tell whether the request may have another."""
        if not load.add(request.weights[request.rows[-1]], self._bounds):
            return False
        batch.setdefault(request, []).append(request.rows.pop())
        return bool(request.rows)
