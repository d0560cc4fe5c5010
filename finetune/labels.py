"""A classifier's labels: texts, whatever a file has in their place."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from decimal import Decimal

INTEGER = re.compile(r"-?\d{1,600}", re.ASCII)
"""Python reads no number of thousands of digits; a label of so many is ordered as a text."""

LONGEST = 500
"""Letters of a label; a column of texts may have megabytes, and each label is shown, and is in every answer."""

MANY = 20
"""More labels than this are held to have at least two rows each on average; a column of names or figures has not."""


class LabelError(ValueError):
    """A value is no label; `code` is for programs, the message for people, without the value."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def label_of(value: object) -> str:
    """Return a value as a label; raises LabelError for what is none.

    An integer is the same label as its digits, as CSV has no other; true and false are written as JSON does. A float
    that is whole is an integer, which is what tables with gaps make of one.

    >>> label_of(" Sports "), label_of(1), label_of(1.0), label_of("1"), label_of(True)
    ('Sports', '1', '1', '1', 'true')
    """
    if isinstance(value, str):
        label = value.strip()
        if not label:
            raise LabelError("missing_label", "expected a label, found an empty text")
        if not _is_utf8(label):
            raise LabelError("invalid_encoding", "expected a label of whole characters, found half of a surrogate pair")
        if len(label) > LONGEST:
            found = f"expected a label of at most {LONGEST} letters, found {len(label):,}"
            raise LabelError("invalid_label", f"{found}; is another column meant?")
        return label
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if value is None or (isinstance(value, (float, Decimal)) and math.isnan(value)):
        raise LabelError("missing_label", "expected a label, found none")
    if isinstance(value, (float, Decimal)) and math.isfinite(value) and value == int(value):
        return str(int(value))
    found = "a number with a fraction" if isinstance(value, (float, Decimal)) else f"a {type(value).__name__}"
    fix = "; a figure to be predicted is no class" if isinstance(value, (float, Decimal)) else ""
    raise LabelError("invalid_label", f"expected a text, an integer, true or false as a label, found {found}{fix}")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def in_order(labels: Iterable[str]) -> list[str]:
    """Return different labels in the order of their ids: as numbers where all are integers, else as texts.

    >>> in_order(["10", "9"]), in_order(["b", "a", "b"])
    (['9', '10'], ['a', 'b'])
    """
    different = set(labels)
    if all(map(INTEGER.fullmatch, different)):
        return sorted(different, key=lambda label: (int(label), label))
    return sorted(different)


def problem_of(labels: Iterable[str], rows: int) -> str | None:
    """Say why these are no classes to train on, or None."""
    different = in_order(labels)
    if len(different) < 2:
        only = f"only {shown(different)}" if different else "none"
        return f"expected two classes or more, found {only}; check label_key, or add rows of another class"
    if len(different) > MANY and 2 * len(different) > rows:
        return (
            f"expected classes, found {len(different):,} different labels in {rows:,} rows; label_key seems to name "
            "another column than the label's"
        )
    return None


def shown(labels: Iterable[str]) -> str:
    """List labels for a message; a few, and not at length.

    >>> shown(["a", "b"])
    "'a', 'b'"
    """
    listed = [repr(label if len(label) <= 40 else f"{label[:39]}…") for label in labels]
    return ", ".join(listed[:10]) + (", …" if len(listed) > 10 else "")
