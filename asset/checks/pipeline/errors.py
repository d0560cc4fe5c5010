"""What can go wrong with a job here.

RuntimeError
├── JobError                the message says what was expected, what was found and what to do
│   ├── InvalidJobError     the job file, or what it names, is wrong: one finding or several
│   ├── StepError           a step ended with another status than 0, or without an output
│   └── RunError            a run cannot be started or continued: another one has it, there is none of that name
└── InvalidFileError
    └── InvalidJobError
"""

from __future__ import annotations

from asset.findings import InvalidFileError

ELSEWHERE = "runs-elsewhere"
"""The rule of findings about what Azure can run and this machine cannot."""


class JobError(RuntimeError):
    """A job cannot be run or continued; the message says what to do."""


class InvalidJobError(JobError, InvalidFileError):
    """The job file, or a file that it names, is wrong."""


class StepError(JobError):
    """A step failed. `status` is its exit status; 0 where it ended well and wrote too little."""

    def __init__(self, step: str, status: int, reason: str, last_lines: list[str]) -> None:
        self.step, self.status, self.reason, self.last_lines = step, status, reason, last_lines
        super().__init__(f"step '{step}' failed: {reason}")


class RunError(JobError):
    """A run cannot be started or continued."""
