"""What a check found, and the errors of the doctor itself.

ValueError
└── NothingToCheckError    what was asked for cannot be looked at; the message says expected, found and what to do
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "wrong"]


class NothingToCheckError(ValueError):
    """What was asked for cannot be looked at."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    A note is what works, and is worth to know; what is wrong will fail, or do something else than is meant. Of both,
    `fix` says what to do.
    """

    name: str
    status: Status
    expected: str
    found: str
    fix: str = ""


def ok(name: str, expected: str, found: str) -> Check:
    """Return that all is well."""
    return Check(name, "ok", expected, found)


def note(name: str, expected: str, found: str, fix: str) -> Check:
    """Return what works, and is worth to know."""
    return Check(name, "note", expected, found, fix)


def wrong(name: str, expected: str, found: str, fix: str) -> Check:
    """Return what will not work."""
    return Check(name, "wrong", expected, found, fix)
