"""What the runner shows while it works: its own notes, and each step's lines behind the step's name."""

from __future__ import annotations

import threading

from rich.console import Console
from rich.text import Text

COLORS = ("cyan", "magenta", "green", "blue", "yellow")


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
