"""What a long step tells while it runs: lines, and a bar below them that a log is not filled by."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

TERMINAL_SECONDS = 0.5
LOG_SECONDS = 10.0
"""Between two states of a bar: a log, or a pipe that ends in one, keeps what a terminal draws over."""


def say(line: str) -> None:
    """Write a line above the progress bar, on standard error: standard output gets the result alone."""
    tqdm.write(line, file=sys.stderr)


def progress_bar(total: int, what: str, unit: str, done: int = 0) -> tqdm[Any]:
    """Return a bar on standard error, which begins at `done` of `total`; no two at once, as that moves the cursor."""
    return tqdm(
        total=total,
        desc=what,
        unit=unit,
        initial=done,
        mininterval=TERMINAL_SECONDS if sys.stderr.isatty() else LOG_SECONDS,
        miniters=0,  # else tqdm guesses after how many steps to look at the clock
        dynamic_ncols=True,
        file=sys.stderr,
    )
