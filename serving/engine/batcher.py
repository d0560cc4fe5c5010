"""Batches across requests: the rows of requests that wait at the same time go through the model together.

There is no timer, and no thread of the batcher's own. A request's thread that finds the model free takes the next batch and
runs it, so that an idle server adds no wait. The other threads wait, and their rows leave as one batch when the model is
free. A thread that ran a batch hands over as soon as its own rows are answered.

Order: requests take turns. The first request in the queue is always in the next batch with one row, then each request
behind it with one row, then again from the first, until the batch is full; requests in the batch with rows left go to the
end of the queue. So a request waits for at most as many batches as there were requests before it, however many rows those
have.

Padding: if rows are padded to the longest, a batch has rows of like length. A batch costs about as much as its padded
tokens (rows x longest row) plus BATCH_COST, so a row is taken if the padding of the batch stays below BATCH_COST plus an
eighth of its tokens; a request whose next row would break this rule, or a bound, waits for a later batch.

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
"""The fixed cost of a batch in tokens: BERT-base in int8 on two cores takes 2.8 ms + 0.055 ms a token."""


class Weight(NamedTuple):
    """What a row adds to a batch: its tokens, and other bounded work, such as its masks."""

    tokens: int
    work: int


class Bounds(NamedTuple):
    """The limits of a batch: padded tokens (rows x longest row), rows, work. A single row may be over them.

    Without `padding`, the engine takes rows as long as they are, and rows of any length go together.
    """

    tokens: int
    rows: int
    work: int
    padding: bool = True


class Outcome(NamedTuple, Generic[Result]):
    """The result of each item in order, the seconds of waiting and of computing, and the rows of the largest batch."""

    results: list[Result]
    queue_seconds: float
    compute_seconds: float
    batch_rows: int


@dataclass(eq=False)
class _Request(Generic[Item, Result]):
    """A request in the queue: its rows by index, longest first; the last of them, the shortest, is the next to be taken."""

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
    """The content of a batch while it is filled."""

    rows: int = 0
    tokens: int = 0
    longest: int = 0
    work: int = 0

    def add(self, weight: Weight, bounds: Bounds) -> bool:
        """Add a row if it is the first, or if the batch stays in its bounds with little padding; return whether it did."""
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
    """Runs the items of several threads through `run_batch` together; safe to share between threads and across a fork.

    `run_batch` returns a result for each item in order; it is never called twice at the same time.
    """

    def __init__(
        self,
        run_batch: Callable[[list[Item]], Sequence[Result]],
        weigh: Callable[[Item], Weight],
        bounds: Bounds,
        max_requests: int,
    ) -> None:
        """Take the functions and limits; `max_requests` is the number of places that `admitted` has."""
        self._run_batch = run_batch
        self._weigh = weigh
        self._bounds = bounds
        self._max_requests = max_requests
        self._reset()
        # Locks that other threads of the parent hold would stay locked in a child.
        reset = weakref.WeakMethod(self._reset)
        os.register_at_fork(after_in_child=lambda: (method := reset()) and method())

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._queue: dict[_Request[Item, Result], None] = {}  # requests with rows left to take, in order
        self._busy = False
        self._admitted = 0
        self._row_seconds = 0.0

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Hold a place for a request during the block, from before any work until its answer; raises QueueFull."""
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
        """Return the items' results; items share batches with other threads. `deadline` is monotonic time.

        Raises DeadlineExceeded if a result is late, and the error that `run_batch` raises for these items alone.

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
        """Run one batch and hand out its results; the lock is released while the batch runs."""
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
        """Return each request's results or its error; nothing for a request that expired before it was run alone."""
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
        """Take the next batch from the queue, in turns; requests with rows left go to the end of the queue."""
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
        """Take a request's next row if the batch has room for it; return whether the request may have another row."""
        if not load.add(request.weights[request.rows[-1]], self._bounds):
            return False
        batch.setdefault(request, []).append(request.rows.pop())
        return bool(request.rows)
