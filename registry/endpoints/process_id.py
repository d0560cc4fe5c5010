"""A process that is told from a later one of the same number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class ProcessId:
    """A process: its number, when it was started (in ticks since the machine was), and which start of the machine that was."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Return a running process; None where there is none, or it has ended and waits to be noticed."""
        try:
            # The name, in parentheses, may have spaces and parentheses in it.
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        except OSError:
            return None
        state, started = fields[0], int(fields[19])
        return None if state in "ZX" else cls(pid, started, boot)

    @property
    def runs(self) -> bool:
        """Return whether this very process still runs."""
        return ProcessId.of(self.pid) == self
