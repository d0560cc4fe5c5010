"""Processes that go on when who started them ends: a job's runner, a batch job.

A process that is told from a later one of the same number.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from asset.environments import ROOT
from tables.whole_file import write_json

CANCEL_SECONDS = 30.0


@dataclass(frozen=True)
class Background:
    """A process: the file that says which one, and its log."""

    record: Path
    log: Path

    def start(self, command: list[str]) -> None:
        """Start it, in the checkout's root; its log goes on where it ended."""
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                # Lines come when they are written, not when a buffer is full.
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        identity = ProcessId.of(process.pid)
        if identity is not None:
            write_json(self.record, asdict(identity))
        # It outlives this object; where this process goes on, as in a notebook, somebody has to notice its end.
        threading.Thread(target=process.wait, daemon=True).start()

    @property
    def runs(self) -> bool:
        """Return whether it runs."""
        return (identity := self._identity()) is not None and identity.runs

    def stop(self) -> None:
        """Tell it once to end in order, as Ctrl-C does, and wait; one that takes too long is killed."""
        identity = self._identity()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if identity is None or not identity.runs:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(identity.pid, number)
            deadline = time.monotonic() + CANCEL_SECONDS
            while identity.runs and time.monotonic() < deadline:
                time.sleep(0.05)

    def _identity(self) -> ProcessId | None:
        try:
            return ProcessId(**json.loads(self.record.read_bytes()))
        except FileNotFoundError:
            return None


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
