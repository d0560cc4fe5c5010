"""A finding: what is wrong in a file or on a machine, where, by which rule, and what to do about it.

RuntimeError
└── InvalidFileError    a file cannot be used; the error has one finding or several

RuntimeError
├── InvalidFileError    a file is wrong; it holds the findings
└── JobError            a job cannot be run or continued; asset/local/jobs/errors.py has two kinds of it
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

Severity = Literal["ok", "note", "error"]
"""ok: a check that passed. note: something to know, such as weights that are not pulled yet. error: something is wrong."""

OK: Severity = "ok"
NOTE: Severity = "note"
ERROR: Severity = "error"

LONGEST = 1000
"""Characters of a message. A file may have a megabyte in the place of a name."""


@dataclass(frozen=True)
class Place:
    """Where something is written: a file and its line (from 1), or an option of the command line without a line."""

    where: str
    line: int | None = None

    @classmethod
    def in_file(cls, path: Path, line: int) -> Place:
        """Name a file as the user would from the current folder."""
        return cls(shown(path), line)

    def __str__(self) -> str:
        return self.where if self.line is None else f"{self.where}:{self.line}"


NOWHERE = Place("")
"""The place of a finding that is not about a file, or whose place only the caller knows (`at`)."""


@dataclass(frozen=True)
class Finding:
    """What is wrong and what to do: "evaluate.yml:23: step 'predict' has no input 'test_dat'; rename it to test_data".

    `rule` names the kind of mistake, for scripts.
    """

    place: Place
    message: str
    fix: str = ""
    rule: str = "job"
    severity: Severity = ERROR

    def __post_init__(self) -> None:
        if len(self.message) > LONGEST:
            half = LONGEST // 2
            object.__setattr__(self, "message", f"{self.message[:half]} … {self.message[-half:]}")

    @property
    def text(self) -> str:
        """Return what is wrong and what to do, without the place."""
        return f"{self.message}; {self.fix}" if self.fix else self.message

    def at(self, place: Place, rule: str, about: str = "") -> Finding:
        """Return the finding with its place and rule; `about` is put before the message."""
        return replace(self, place=place, rule=rule, message=f"{about}: {self.message}" if about else self.message)

    def as_note(self) -> Finding:
        """Return the finding as something to know."""
        return replace(self, severity=NOTE)

    def as_dict(self) -> dict[str, Any]:
        """Return the finding for JSON."""
        return {
            "file": self.place.where or None,
            "line": self.place.line,
            "rule": self.rule,
            "message": self.message,
            "fix": self.fix,
            "severity": self.severity,
        }

    def __str__(self) -> str:
        return self.text if self.place == NOWHERE else f"{self.place}: {self.text}"


class InvalidFileError(RuntimeError):
    """A file cannot be used; the message has all findings, a line each."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = list(findings)
        super().__init__("\n".join(map(str, self.findings)))


def problem(message: str, fix: str) -> Finding:
    """Return a finding whose place the caller adds."""
    return Finding(NOWHERE, message, fix)


def one_of(
    name: object,
    known: Iterable[object],
    about: str = "",
    write: str = "rename it to",
    otherwise: str = "choose one of those",
) -> Finding:
    """Say that a name is none of those known, and which one is meant: "ABOUT; expected one of a, b" and "rename it to a".

    Args:
        name: the name that is not known.
        known: the names that there are.
        about: what is wrong, put before the names.
        write: how the fix begins if a known name is close.
        otherwise: the fix if no known name is close.
    """
    names = [str(other) for other in known]
    start = f"{about}; " if about else ""
    if not names:
        return problem(f"{start}expected none there", "remove it")
    close = difflib.get_close_matches(str(name), names, n=1)
    return problem(f"{start}expected one of {', '.join(names)}", f"{write} {close[0]}" if close else otherwise)


def shown(path: Path) -> str:
    """Return a path as it is shortest to write from the current folder, without climbing out of it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, RuntimeError):  # elsewhere, or links that lead in a circle
        return os.path.normpath(path)


ELSEWHERE = "runs-elsewhere"
"""The rule of findings about what Azure can run and this machine cannot."""


class JobError(RuntimeError):
    """A job cannot be run or continued; the message says what to do."""
