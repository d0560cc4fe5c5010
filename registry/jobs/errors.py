"""What can go wrong with a job here, and a finding: what is wrong in a file, where, and what to do.

RuntimeError
└── JobError                the message says what was expected, what was found and what to do
    ├── InvalidJobError     the job file, or what it names, is wrong: one finding or several
    ├── StepError           a step ended with another status than 0, or without an output
    └── RunError            a run cannot be started or continued: another one has it, there is none of that name
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


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
    """One thing that is wrong: `str` gives "evaluate.yml:23: step 'predict' has no input 'test_dat'; …"."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


def shown(path: Path) -> str:
    """Return a path as it is shortest to write from the current folder, without climbing out of it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return os.path.normpath(path)


class JobError(RuntimeError):
    """A job cannot be run or continued; the message says what to do."""


class InvalidJobError(JobError):
    """The job file, or a file that it names, is wrong."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = list(findings)
        super().__init__("\n".join(map(str, self.findings)))


class StepError(JobError):
    """A step failed. `status` is its exit status; 0 where it ended well and wrote too little."""

    def __init__(self, step: str, status: int, reason: str, last_lines: list[str]) -> None:
        self.step, self.status, self.reason, self.last_lines = step, status, reason, last_lines
        super().__init__(f"step '{step}' failed: {reason}")


class RunError(JobError):
    """A run cannot be started or continued."""
