"""The signals by which other programs stop one of ours."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType


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
