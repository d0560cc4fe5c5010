"""A finding: what is wrong in a file, where, by which rule, and what to do.

RuntimeError
└── InvalidFileError    a file cannot be taken as it is: one finding or several
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

ERROR, NOTE = "error", "note"
"""How bad a finding is. A note is something to know, as that weights are not pulled yet, and leaves a file good."""


LONGEST = 1000
"""Letters of a message: what stands in a file in a name's place may be a megabyte of it."""


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


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: `str` gives "evaluate.yml:23: step 'predict' has no input 'test_dat'; rename it to test_data".

    `message` says what was expected and found, `fix` what to do. `rule` names the kind of mistake, for scripts.
    """

    place: Place
    message: str
    fix: str = ""
    rule: str = "job"
    severity: str = ERROR

    def __post_init__(self) -> None:
        if len(self.message) > LONGEST:
            half = LONGEST // 2
            object.__setattr__(self, "message", f"{self.message[:half]} … {self.message[-half:]}")

    @property
    def text(self) -> str:
        """Return what is wrong and what to do."""
        return f"{self.message}; {self.fix}" if self.fix else self.message

    def as_note(self) -> Finding:
        """Return it as something to know."""
        return replace(self, severity=NOTE)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "file": self.place.where,
            "line": self.place.line,
            "rule": self.rule,
            "message": self.message,
            "fix": self.fix,
            "severity": self.severity,
        }

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class InvalidFileError(RuntimeError):
    """A file cannot be taken as it is; the message has all findings, a line each."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = list(findings)
        super().__init__("\n".join(map(str, self.findings)))


class Problem(NamedTuple):
    """What is wrong, and what to do, without a place."""

    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.message}; {self.fix}"


def one_of(name: object, known: Iterable[object]) -> Problem:
    """Say which names there are, and the one that is meant where one is close: "expected one of a, b" and "rename it to a"."""
    names = [str(one) for one in known]
    if not names:
        return Problem("expected none there", "remove it")
    close = difflib.get_close_matches(str(name), names, n=1)
    return Problem(
        f"expected one of {', '.join(names)}", f"rename it to {close[0]}" if close else "choose one of those"
    )


def shown(path: Path) -> str:
    """Return a path as it is shortest to write from the current folder, without climbing out of it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, RuntimeError):  # elsewhere, or links that lead in a circle
        return os.path.normpath(path)
