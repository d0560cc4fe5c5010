"""Start processes, recognize them later, and stop them with all that they started.

    process = start(["sleep", "60"])              a child of this process, which leads a group of its own
    identity = ProcessId.of(process.pid)          the same process, for a file that a later command reads
    identity.runs                                 False once it ended, even if another process has its number by then
    stop([process])                               SIGTERM, some time to end in order, then SIGKILL for its whole tree
    end_marked("ASSET_RUN_FOLDER", folder)        SIGKILL for every process that has this environment variable

A process in a group of its own does not get the Ctrl-C of this terminal: whoever started the process decides how it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Self

import psutil

from tables.disk import write_json

ROOT = Path(__file__).resolve().parents[2]

StopSignals = Sequence[tuple[signal.Signals, float]]
"""Signals in the order in which they are sent, each with the seconds that a process gets to end after it."""

IN_ORDER: StopSignals = ((signal.SIGTERM, 30.0),)
POLL_SECONDS = 0.02
KILL_SECONDS = 5.0


def start(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    variables: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    output: IO[bytes] | int | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a process that leads a session and a group of its own.

    Args:
        command: the program and its arguments.
        folder: its working folder; default: that of this process.
        variables: its whole environment; default: that of this process.
        stdin: its standard input; empty by default.
        output: its standard output and error: a file, or subprocess.PIPE; default: those of this process.
        pass_fds: descriptors that it inherits.
    """
    return subprocess.Popen(
        list(command),
        cwd=folder,
        env=None if variables is None else dict(variables),
        stdin=stdin,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        pass_fds=pass_fds,
        start_new_session=True,
    )


def start_in_background(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process of this checkout that goes on when this one ends; it appends to the log."""
    # Lines come when they are written, not when a buffer is full.
    variables = os.environ | {"PYTHONUNBUFFERED": "1"}
    with open(log, "ab") as output:
        process = start(command, folder=ROOT, variables=variables, output=output)
    # If this process goes on, such as in a notebook, it has to collect the exit status, or the ended one stays a zombie.
    threading.Thread(target=process.wait, daemon=True).start()
    return process


@dataclass(frozen=True)
class ProcessId:
    """A process: its number, and the second after the start of the machine at which it was started.

    That second does not change when the machine's clock is set, as a time of day would.
    """

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Return a process that runs; None if there is none of this number, or if it is a zombie."""
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return cls(pid, round(process.create_time() - psutil.boot_time(), 2))
        except psutil.NoSuchProcess:
            return None

    @property
    def runs(self) -> bool:
        """Return whether this very process still runs."""
        return ProcessId.of(self.pid) == self


@dataclass(frozen=True)
class Background:
    """A process that goes on when this one ends, such as the runner of a job: the file that identifies it, and its log."""

    record: Path
    log: Path

    def start(self, command: Sequence[str]) -> None:
        """Start the process; see `start_in_background`."""
        self._write(start_in_background(command, self.log).pid)

    def record_this_process(self) -> None:
        """Write down that this process is the one."""
        self._write(os.getpid())

    @property
    def pid(self) -> int | None:
        """Return the number of the process; None if none was started."""
        return identity.pid if (identity := self._read()) else None

    @property
    def runs(self) -> bool:
        """Return whether the process runs."""
        return (identity := self._read()) is not None and identity.runs

    def stop(self) -> None:
        """Tell the process to end in order, wait, and kill it if it takes too long."""
        if (identity := self._read()) is not None:
            stop([identity])

    def _write(self, pid: int) -> None:
        if (identity := ProcessId.of(pid)) is not None:
            write_json(self.record, asdict(identity))

    def _read(self) -> ProcessId | None:
        try:
            return ProcessId(**json.loads(self.record.read_bytes()))
        except FileNotFoundError:
            return None


Handle = subprocess.Popen[bytes] | ProcessId


def stop(processes: Sequence[Handle], signals: StopSignals = IN_ORDER) -> None:
    """Send the signals to the processes and their groups, one after the other, until all processes have ended.

    At the end, or if this wait is interrupted, all that is left of them and of the processes below them is killed.
    """
    members = [member for process in processes if _runs(process) for member in _tree(process.pid)]
    try:
        for number, seconds in signals:
            for process in filter(_runs, processes):
                if not signal_group(process.pid, number):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, number)
            _wait(lambda: not any(map(_runs, processes)), seconds)
    finally:
        for process in processes:
            kill(process)
        _kill_all(members)


def kill(process: Handle) -> None:
    """Kill a process, its group, and every process below it, and wait until it has ended.

    A child that has ended may have left others in its group: those are killed too. Any other process that has ended is
    left alone, as its number may be that of a stranger.
    """
    runs = _runs(process)
    tree = _tree(process.pid) if runs else []
    if runs or isinstance(process, subprocess.Popen):
        signal_group(process.pid, signal.SIGKILL)
    _kill_all(tree)
    _wait(lambda: not _runs(process), KILL_SECONDS)


def signal_group(pid: int, number: signal.Signals) -> bool:
    """Send a signal to the group of processes that this process leads, or led; return whether there is such a group."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    return True


def _tree(pid: int) -> list[psutil.Process]:
    """Return a process and those below it, in whatever group they are."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill_all(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        # It has ended meanwhile; psutil does not kill another process that has its number by then.
        with contextlib.suppress(psutil.Error):
            process.kill()


def end_marked(mark: str, value: str) -> list[int]:
    """Kill each process of this user that has the environment variable `mark` at this value; return their numbers.

    They are what a step or an endpoint left behind: in a session of its own, or because its parent was killed.
    """
    ended: set[int] = set()
    deadline = time.monotonic() + KILL_SECONDS
    # Until there is none: a process may have started another one meanwhile.
    while (marked := _marked(mark, value)) and time.monotonic() < deadline:
        ended |= {process.pid for process in marked}
        _kill_all(marked)
        _wait(lambda left=marked: not any(map(_alive, left)), deadline - time.monotonic())
    return sorted(ended)


def _marked(mark: str, value: str) -> list[psutil.Process]:
    marked = []
    for pid in psutil.pids():
        # It has ended meanwhile, or belongs to another user.
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            if process.environ().get(mark) == value and _alive(process):
                marked.append(process)
    return marked


def _alive(process: psutil.Process) -> bool:
    """Return whether a process runs; a zombie writes no more."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _runs(process: Handle) -> bool:
    return process.poll() is None if isinstance(process, subprocess.Popen) else process.runs


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
