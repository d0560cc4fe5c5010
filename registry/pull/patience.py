"""How long to keep trying where a hub or the way to it fails for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from finetune.prepare.hub import Problem

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Statuses after which the same request may be answered."""


@dataclass(frozen=True)
class Patience:
    """So many tries with nothing gained in between; waits in seconds, each twice the one before it.

    A hub that asks for a longer wait than `longest_asked` is not waited for: the message passes that on.
    """

    tries: int = 5
    first: float = 1.0
    longest: float = 20.0
    longest_asked: float = 120.0

    def after(self, problem: Problem, failed: int) -> float | None:
        """Return how long to wait once `failed` tries in a row came to nothing; None where there is no use in it."""
        passing = problem.fault in ("cut", "unreachable") or problem.status in PASSING
        if not passing or failed >= self.tries:
            return None
        if problem.retry_after is not None:
            return problem.retry_after if problem.retry_after <= self.longest_asked else None
        return min(self.first * 2 ** (failed - 1), self.longest)

    def wait(self, problem: Problem, failed: int, told: Callable[[str], None]) -> bool:
        """Wait, and say so; returns whether to try again."""
        seconds = self.after(problem, failed)
        if seconds is None:
            return False
        found = {"cut": "the connection was cut", "unreachable": "the hub cannot be reached"}.get(
            problem.fault, f"the hub answers {problem.status}"
        )
        told(f"{found}; trying again in {seconds:g} s")
        time.sleep(seconds)
        return True
