"""An attack on nothing, whose cases show each of the things that are watched for."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.torture.attack import MB, BrokenPromise


class Faulty:
    """Breaks a promise, hangs, dies and takes memory in a case each; later cases leave a file open."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._kept: list[object] = []
        self._cases: tuple[Callable[[], object], ...] = (
            *(lambda: None, self._broken, lambda: time.sleep(30), lambda: os.kill(os.getpid(), 9)),
            *(lambda: b"x" * (130 * MB), lambda: time.sleep(1.2), lambda: self._kept.append(b"x" * (64 * MB))),
        )

    def watched(self) -> int:
        """Return this process."""
        return os.getpid()

    def case(self, number: int) -> Counter[str]:
        """Do what the case is there for."""
        if number < len(self._cases):
            self._cases[number]()
        else:
            self._kept.append(open(os.devnull))  # noqa: SIM115
        return Counter(["good"])

    def _broken(self) -> None:
        raise BrokenPromise("as it was made to")

    def close(self) -> None:
        """Say that the end shows something too."""
        raise BrokenPromise("the end shows it")
