"""Errors of a job that runs on this machine.

RuntimeError
└── JobError        (asset/findings.py) a job cannot be run or continued
    ├── StepError   a step ended with a status other than 0, or without an output
    └── RunError    a run cannot be started or continued: another process has it, or no run has that name
"""

from __future__ import annotations

from asset.findings import JobError


class StepError(JobError):
    """A step failed. `status` is its exit status: 0 if it ended well and did not write an output."""

    def __init__(self, step: str, status: int, reason: str, last_lines: list[str]) -> None:
        self.step, self.status, self.reason, self.last_lines = step, status, reason, last_lines
        super().__init__(f"step '{step}' failed: {reason}")


class RunError(JobError):
    """A run cannot be started or continued."""
