"""What the runner shows while it works: its own notes, and each step's lines behind the step's name.

The signals by which other programs stop one of ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

COLORS = ("cyan", "magenta", "green", "blue", "yellow")


class SafeStream:
    """An output that may end (`asset run … | head`) or lack a letter without ending the run: it says so once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lost = stream, False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  what the stream has
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what the stream can take."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._try(text.encode(encoding, "replace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Write out what is held back."""
        self._try("")

    def _try(self, text: str) -> None:
        if self._lost:
            return
        try:
            self._stream.write(text)
            if not text:
                self._stream.flush()
        except OSError as exc:
            self._lost = True
            with contextlib.suppress(OSError):
                # What is still held back is written at the end of Python, and would fail once more.
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
                sys.stderr.write(f"the output takes no more ({exc.strerror}); the run goes on, and its log is kept\n")


def safe_console(stream: TextIO) -> Console:
    """Return a console that outlives its stream."""
    return Console(file=SafeStream(stream), highlight=False)  # type: ignore[arg-type]  it has what a stream has


class Screen:
    """A terminal or a file. On a terminal the step names have colors, and a progress bar is drawn on one line."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._lock = threading.Lock()
        self._bar = False
        self._colors: dict[str, str] = {}

    def note(self, text: str, style: str = "bold") -> None:
        """Show a line of the runner's own."""
        with self._lock:
            self._clear_bar()
            self.console.print(Text(text, style), soft_wrap=True)

    def line(self, name: str, text: str) -> None:
        """Show a line of a step; colors that it has are kept, and moves of the cursor left out."""
        with self._lock:
            self._clear_bar()
            self.console.print(Text.assemble(self._prefix(name), Text.from_ansi(text)), soft_wrap=True)

    def bar(self, name: str, text: str) -> None:
        """Draw the state of a progress bar over the one before; a file gets the last state alone, as a line."""
        if not self.console.is_terminal:
            return
        with self._lock:
            self._clear_bar()
            drawn = Text.assemble(self._prefix(name), Text.from_ansi(text))
            drawn.truncate(max(self.console.width - 1, 1))
            self.console.print(drawn, end="", soft_wrap=True)
            self._bar = True

    def _prefix(self, name: str) -> Text:
        step = name.partition("[")[0]
        color = self._colors.setdefault(step, COLORS[len(self._colors) % len(COLORS)])
        return Text(f"{name} | ", color)

    def _clear_bar(self) -> None:
        if self._bar:
            # To the start of the line, and nothing on it.
            self.console.file.write("\r\x1b[2K")
            self._bar = False


def interrupt_on_signals() -> Callable[[], None]:
    """Make a stop by another program, or a closed terminal, as orderly as Ctrl-C; return what undoes that."""
    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Under nohup a hang-up stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, _interrupt)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
