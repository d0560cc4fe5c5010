"""The log of a step: a file, the screen, and the last lines for when it fails."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from asset.screen import Screen
from registry.jobs.log_stream import LogStream

LINES_SHOWN = 20
"""How many lines of a failed step are shown once more at the end."""


class StepLog:
    """Takes the output of a step's processes; a second try of the step goes on in the same file."""

    def __init__(self, path: Path, step: str, screen: Screen, processes: int | None) -> None:
        self.last: deque[str] = deque(maxlen=LINES_SHOWN)
        self._step, self._screen, self._processes = step, screen, processes
        self._lock = threading.Lock()
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115  closed by __exit__

    def __enter__(self) -> StepLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Each line was written through; what is left is of one that could not be, which was told.
        with contextlib.suppress(OSError):
            self._file.close()

    def output(self, rank: int) -> tuple[Callable[[bytes], None], Callable[[], None]]:
        """Return what takes the bytes of a process, and what is called at their end."""
        name = self._step if self._processes is None else f"{self._step}[{rank}]"
        stream = LogStream(lambda text: self._line(name, text), lambda text: self._screen.bar(name, text))
        return stream.feed, stream.close

    def _line(self, name: str, text: str) -> None:
        shown = text if name == self._step else f"{name} | {text}"
        with self._lock:
            self.last.append(shown)
            if not self._file.closed:
                self._file.write(f"{shown}\n")
                self._file.flush()
        self._screen.line(name, text)
