"""The request that a thread works for: until when it may take, and what it has taken so far.

It is kept beside the thread's work rather than handed down through it, as tracing libraries do: what fills masks or
labels texts has no use for it, only the ends do, where a request comes in and where it meets the model.

The limits that only show while a request is worked on: how much it grows to, and how long its answer would be.
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
    """A deadline in monotonic time; what the request has and what it took.

    rows; tokens, with those of windows and targets; seconds in the queue, in the tokenizer and in batches; rows of the
    largest batch.
    """

    deadline: float = math.inf
    rows: int = 0
    tokens: int = 0
    queue_seconds: float = 0.0
    tokenize_seconds: float = 0.0
    compute_seconds: float = 0.0
    batch_rows: int = 0

    def headers(self) -> dict[str, str]:
        """Return it for the client, in milliseconds as the W3C's Server Timing writes them.

        {"Server-Timing": "queue;dur=0.0, tokenize;dur=0.1, compute;dur=4.6", "x-batch-rows": "1"}
        """
        timing = ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in self._spent())
        return {"Server-Timing": timing, "x-batch-rows": str(self.batch_rows)}

    def record(self) -> dict[str, float]:
        """Return it for the log: {"rows": 2, "tokens": 18, "queue_ms": 0.0, "tokenize_ms": 0.1, "compute_ms": 4.6}."""
        spent = {f"{name}_ms": round(seconds * 1000, 1) for name, seconds in self._spent()}
        return {"rows": self.rows, "tokens": self.tokens, **spent}

    def _spent(self) -> tuple[tuple[str, float], ...]:
        return ("queue", self.queue_seconds), ("tokenize", self.tokenize_seconds), ("compute", self.compute_seconds)


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def current_call() -> Call:
    """Return the call that this thread works for; outside of one, a new one without a deadline."""
    return _current.get() or Call()


@contextmanager
def calling(seconds: float) -> Iterator[Call]:
    """Work for a new call that may take so many seconds."""
    call = Call(time.monotonic() + seconds)
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)


@contextmanager
def tokenizing() -> Iterator[None]:
    """Count what the body takes as the tokenizer's time."""
    start = time.perf_counter()
    try:
        yield
    finally:
        current_call().tokenize_seconds += time.perf_counter() - start


def check_answer(size: int, settings: Settings) -> None:
    """Raise TooLarge for an answer of about `size` bytes that is over the limit."""
    if size > settings.max_answer_bytes:
        raise TooLarge(
            "answer_too_large",
            f"the answer would have about {size} bytes, expected at most {settings.max_answer_bytes}; "
            "ask for a smaller top_k, or send fewer or shorter texts",
        )


def check_passages(count: int, settings: Settings) -> None:
    """Raise TooLarge for more model inputs than the limit."""
    if count > settings.max_passages:
        raise TooLarge(
            "too_much_work",
            f"the request grows to {count} model inputs, with the windows of long texts and the pieces of targets; "
            f"expected at most {settings.max_passages}: send fewer rows or targets, or shorter texts",
        )
