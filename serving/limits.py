"""The limits that only show while a request is worked on: how much it grows to, and how long its answer would be."""

from __future__ import annotations

from serving.errors import TooLarge
from serving.settings import Settings


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
