"""Wait for processes, and ask whether they are there."""

from __future__ import annotations

import time
from collections.abc import Callable

from asset.local.processes import ProcessId


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    return ProcessId.of(pid) is not None


def gone(pid: int) -> bool:
    return not alive(pid)
