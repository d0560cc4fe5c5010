"""What can go wrong with a job here.

RuntimeError
├── JobError            a job cannot be run or continued; asset/local/jobs/errors.py has two kinds of it
└── InvalidFileError    (asset/findings.py) the job's file, or a file that it names, is wrong
"""

from __future__ import annotations

ELSEWHERE = "runs-elsewhere"
"""The rule of findings about what Azure can run and this machine cannot."""


class JobError(RuntimeError):
    """A job cannot be run or continued; the message says what to do."""
