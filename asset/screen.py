"""What a command shows while it works: its own notes, each step's lines behind the step's name, and progress bars.

Also the signals by which other programs stop a command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

COLORS = ("cyan", "magenta", "green", "blue", "yellow")


class SafeStream:
    """An output whose reader may go away (`asset run … | head`), and whose encoding may lack a letter.

    Neither stops the command. If the reader goes away, one line on standard error says so.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lost = stream, False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  an attribute of the stream
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text; letters that the stream's encoding lacks become question marks."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._try(text.encode(encoding, "replace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Write out the buffer."""
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
                # Python writes the rest of the buffer when it ends, which would fail once more.
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
                sys.stderr.write(f"the output takes no more ({exc.strerror}); the run goes on, and its log is kept\n")


def safe_console(stream: TextIO) -> Console:
    """Return a console that goes on if its stream's reader goes away."""
    return Console(file=SafeStream(stream), highlight=False)  # type: ignore[arg-type]  it has a stream's methods


class Screen:
    """A terminal or a file. On a terminal the names of steps have colors, and a progress bar is drawn on one line.

    `console` is for what the command says, `errors` is standard error.
    """

    def __init__(self, console: Console, errors: Console | None = None) -> None:
        self.console, self.errors = console, errors or console
        self._lock = threading.Lock()
        self._bar = False
        self._colors: dict[str, str] = {}

    def note(self, text: str, style: str = "bold") -> None:
        """Show a line about the work."""
        self.say(text, style)

    def say(self, text: str | Text, style: str = "") -> None:
        """Show a text as it is, without wrapping its lines."""
        with self._lock:
            self._clear_bar()
            self.console.print(Text(text, style) if isinstance(text, str) else text, soft_wrap=True)

    def line(self, name: str, text: str) -> None:
        """Show a line of a step, with its colors and without moves of the cursor."""
        self.say(Text.assemble(self._prefix(name), Text.from_ansi(text)))

    def bar(self, name: str, text: str) -> None:
        """Draw the state of a step's progress bar over the state before; in a file, nothing is drawn."""
        if not self.console.is_terminal:
            return
        with self._lock:
            self._clear_bar()
            drawn = Text.assemble(self._prefix(name), Text.from_ansi(text))
            drawn.truncate(max(self.console.width - 1, 1))
            self.console.print(drawn, end="", soft_wrap=True)
            self._bar = True

    @contextlib.contextmanager
    def progress(self, total: int, received: int) -> Iterator[Callable[[int], None]]:
        """Show a download: a bar on a terminal, else a line with its size; yields the function that counts bytes."""
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (TextColumn("pulling"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        hidden = not self.console.is_terminal
        if hidden:
            self.note(f"pulling {(total - received) / 1e6:,.1f} MB of {total / 1e6:,.1f} MB")
        with Progress(*columns, console=self.console, transient=True, disable=hidden) as bar:
            task = bar.add_task("pulling", total=total, completed=received)
            yield lambda size: bar.advance(task, size)

    def _prefix(self, name: str) -> Text:
        step = name.partition("[")[0]
        color = self._colors.setdefault(step, COLORS[len(self._colors) % len(COLORS)])
        return Text(f"{name} | ", color)

    def _clear_bar(self) -> None:
        if self._bar:
            # Go to the start of the line, and empty it.
            self.console.file.write("\r\x1b[2K")
            self._bar = False


def interrupt_on_signals() -> Callable[[], None]:
    """Let SIGTERM and a closed terminal stop this process as orderly as Ctrl-C; return a function that undoes this."""
    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Under nohup, SIGHUP stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, _interrupt)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
