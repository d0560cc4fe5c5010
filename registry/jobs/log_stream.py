"""What a step writes, as lines: a progress bar that redraws itself is one line, its last state."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass, field


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
