"""The log of a step: a file, the screen, and the last lines for when it fails.

What a step writes, as lines: a progress bar that redraws itself is one line, its last state.
"""

from __future__ import annotations

import codecs
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from asset.screen import Screen

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


@dataclass
class LogStream:
    r"""Take bytes as they come, in pieces of any size, and give lines.

    b"\r 10%", b"\r100%\n", b"done\n" gives line("100%") and line("done"), with redraw(" 10%") and redraw("100%") before.

    Args:
        line: called with each line that is complete, without its end.
        redraw: called with the last state of a line that is being redrawn.
    """

    line: Callable[[str], None]
    redraw: Callable[[str], None]
    _text: str = ""
    _returned: bool = False  # the carriage is at the start of the line: what comes next replaces it
    _redrawn: bool = False
    _decode: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")(errors="replace")
    )

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        *lines, rest = self._decode.decode(piece).split("\n")
        for part in lines:
            self._write(part)
            self._end()
        self._write(rest)
        if rest and self._redrawn and self._text.strip():
            self.redraw(self._text)

    def close(self) -> None:
        """Give what stands on the last line, which nothing ended."""
        self._write(self._decode.decode(b"", final=True))
        if self._text.strip():
            self._end()

    def _write(self, part: str) -> None:
        for index, state in enumerate(part.split("\r")):
            if index:
                self._returned = True
            if state:
                # Two ends of line in a row, as Windows has them, redraw nothing.
                self._redrawn |= self._returned
                self._text = state if self._returned else self._text + state
                self._returned = False

    def _end(self) -> None:
        self.line(self._text)
        self._text, self._returned, self._redrawn = "", False, False
