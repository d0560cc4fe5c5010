"""The call that a thread works on: its deadline, its times and its limits.

The call is kept in a context variable instead of being passed through every function, as tracing libraries do: only the
two ends need it, where a request comes in and where it meets the tokenizer and the model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from serving.errors import TooLarge
from serving.settings import Settings


@dataclass
class Call:
    """A request's deadline in monotonic time, its size and its times.

    `tokens` include those of windows and targets. The seconds are those in the queue, in the tokenizer and in batches.
    `batch_rows` are the rows of the largest batch with rows of this request.
    """

    deadline: float = math.inf
    rows: int = 0
    tokens: int = 0
    queue_seconds: float = 0.0
    tokenize_seconds: float = 0.0
    compute_seconds: float = 0.0
    batch_rows: int = 0

    def headers(self) -> dict[str, str]:
        """Return the headers for the client, with times in milliseconds in the form of the W3C's Server Timing.

        {"Server-Timing": "queue;dur=0.0, tokenize;dur=0.1, compute;dur=4.6", "x-batch-rows": "1"}
        """
        timing = ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in self._spent())
        return {"Server-Timing": timing, "x-batch-rows": str(self.batch_rows)}

    def record(self) -> dict[str, float]:
        """Return the fields for the log: {"rows": 2, "tokens": 18, "queue_ms": 0.0, "tokenize_ms": 0.1, "compute_ms": 4.6}."""
        spent = {f"{name}_ms": round(seconds * 1000, 1) for name, seconds in self._spent()}
        return {"rows": self.rows, "tokens": self.tokens, **spent}

    def _spent(self) -> tuple[tuple[str, float], ...]:
        return ("queue", self.queue_seconds), ("tokenize", self.tokenize_seconds), ("compute", self.compute_seconds)


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def current_call() -> Call:
    """Return the call of this thread; outside of a call, a new call without a deadline."""
    return _current.get() or Call()


@contextmanager
def calling(seconds: float) -> Iterator[Call]:
    """Run the block as a new call with a deadline in `seconds` from now."""
    call = Call(time.monotonic() + seconds)
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)


@contextmanager
def tokenizing() -> Iterator[None]:
    """Count the time of the block as the tokenizer's."""
    start = time.perf_counter()
    try:
        yield
    finally:
        current_call().tokenize_seconds += time.perf_counter() - start


def check_answer(size: int, settings: Settings) -> None:
    """Raise TooLarge if an answer of about `size` bytes is over the limit."""
    if size > settings.max_answer_bytes:
        raise TooLarge(
            "answer_too_large",
            f"the answer would have about {size} bytes, expected at most {settings.max_answer_bytes}; "
            "ask for a smaller top_k, or send fewer or shorter texts",
        )


def check_passages(count: int, settings: Settings) -> None:
    """Raise TooLarge if a request grows to more model inputs than the limit."""
    if count > settings.max_passages:
        raise TooLarge(
            "too_much_work",
            f"the request grows to {count} model inputs, with the windows of long texts and the pieces of targets; "
            f"expected at most {settings.max_passages}: send fewer rows or targets, or shorter texts",
        )
