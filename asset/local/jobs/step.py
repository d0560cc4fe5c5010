"""Run the command of a step: its processes, their log, and how they are stopped.

A command goes through bash, which stops at the first part of it that fails, as on Azure. Each process leads a group of
its own, so that all that it started is stopped with it, and a Ctrl-C reaches the runner alone, which then stops the step.

The output goes to a file and to the screen, line by line; a progress bar that redraws itself is one line, its last state.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from asset.local.processes import StopSignals, end_marked, signal_group, start, stop
from asset.screen import Screen

BASH = ("bash", "-e", "-o", "pipefail", "-c")
STOPPING = ((signal.SIGINT, 10.0), (signal.SIGTERM, 5.0))
"""The signals that a step gets, each with the seconds that it has to end; then it is killed."""

Output = Callable[[int], tuple[Callable[[bytes], None], Callable[[], None]]]
"""Returns for the rank of a process: a function that takes the bytes that it writes, and one that is called at the end."""


@dataclass(frozen=True)
class Launch:
    """A command, its folder and environment variables, and its number of processes (None: one, not distributed)."""

    command: str
    folder: Path
    variables: Mapping[str, str]
    processes: int | None = None
    mark: tuple[str, str] | None = None
    """One of `variables` and its value: at the end, all processes that have it are killed."""


class StepProcess:
    """The running processes of a step."""

    def __init__(self, launch: Launch, output: Output) -> None:
        """Start the processes; threads pass on what they write to the functions that `output` returns."""
        self.problem: Exception | None = None
        """Why some output was lost; the command ran on."""
        self._mark = launch.mark
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []
        try:
            for rank, variables in enumerate(_variables_of_each(launch)):
                self._start(rank, launch, variables, output)
        except BaseException:
            self.stop()
            raise

    @property
    def pids(self) -> list[int]:
        """Return the number of each process, which is also the number of its group."""
        return [process.pid for process in self._processes]

    def wait(self, limit: float | None = None) -> int:
        """Wait for all processes and return 0; if one fails, stop the others and return its exit status.

        The status is the one that a shell shows: 137 for a process that SIGKILL ended.

        Raises:
            TimeoutError: a process still runs after `limit` seconds.
        """
        deadline = None if limit is None else time.monotonic() + limit
        for _ in self._processes:
            try:
                status = self._ended.get(timeout=None if deadline is None else max(deadline - time.monotonic(), 0))
            except queue.Empty as exc:
                raise TimeoutError from exc
            if status:
                self.stop(STOPPING[1:])
                return status if status > 0 else 128 - status
        self._finish()
        return 0

    def stop(self, signals: StopSignals = STOPPING) -> None:
        """Send the signals until the step ends, and kill it at last; a KeyboardInterrupt meanwhile kills it at once."""
        try:
            stop(self._processes, signals)
        finally:
            self._finish()

    def _start(self, rank: int, launch: Launch, variables: dict[str, str], output: Output) -> None:
        process = start([*BASH, launch.command], folder=launch.folder, variables=variables, output=subprocess.PIPE)
        self._processes.append(process)
        reader = threading.Thread(target=self._read, args=(process, *output(rank)), daemon=True)
        waiter = threading.Thread(target=self._await, args=(process,), daemon=True)
        for thread in (reader, waiter):
            thread.start()
            self._threads.append(thread)

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        # Processes that it left behind would write on; on Azure the container ends with the command.
        # At once, while no other group can have got its number.
        signal_group(process.pid, signal.SIGKILL)
        self._ended.put(status)

    def _read(self, process: subprocess.Popen[bytes], feed: Callable[[bytes], None], close: Callable[[], None]) -> None:
        """Pass on what a process writes. If that fails, the pipe is read on, so that the command does not block."""
        assert process.stdout is not None
        with process.stdout as pipe:
            while piece := os.read(pipe.fileno(), 65536):
                self._try(feed, piece)
        self._try(close)

    def _try(self, act: Callable[..., None], *arguments: bytes) -> None:
        if self.problem is None:
            try:
                act(*arguments)
            except Exception as exc:  # noqa: BLE001  whatever it is, this thread reads on
                self.problem = exc

    def _finish(self) -> None:
        """Kill what is left of the step, and wait until all that it wrote was read."""
        if self._mark:
            # A process in a session of its own is in no group of ours, and would keep the pipe open.
            end_marked(*self._mark)
        for thread in self._threads:
            thread.join(timeout=5.0)


def _variables_of_each(launch: Launch) -> list[dict[str, str]]:
    """Return the environment variables of each process; those of a distributed step say its rank, as on Azure."""
    if launch.processes is None:
        return [dict(launch.variables)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(launch.processes),
        "LOCAL_WORLD_SIZE": str(launch.processes),
        "NODE_RANK": "0",
    }
    return [
        {**launch.variables, **together, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(launch.processes)
    ]


LINES_SHOWN = 20
"""How many of the last lines of a failed step are shown again at the end."""


class StepLog:
    """The log of a step, which takes the output of its processes; a second try of the step appends to it."""

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
        # Every line was flushed. What is left belongs to a line that could not be written, and that was reported.
        with contextlib.suppress(OSError):
            self._file.close()

    def output(self, rank: int) -> tuple[Callable[[bytes], None], Callable[[], None]]:
        """Return the functions for a process: one takes the bytes that it writes, one is called at their end."""
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
    r"""Makes lines of bytes that come in pieces of any size.

    b"\r 10%", b"\r100%\n", b"done\n" gives line("100%") and line("done"), with redraw(" 10%") and redraw("100%") before.

    Args:
        line: is called with each complete line, without its end.
        redraw: is called with the last state of a line that is being redrawn.
    """

    line: Callable[[str], None]
    redraw: Callable[[str], None]
    _text: str = ""
    _returned: bool = False  # after a carriage return: the next text replaces the line
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
        """Take the end of the bytes; the last line may have no line end."""
        self._write(self._decode.decode(b"", final=True))
        if self._text.strip():
            self._end()

    def _write(self, part: str) -> None:
        for index, state in enumerate(part.split("\r")):
            if index:
                self._returned = True
            if state:
                # The carriage return of a line end of Windows redraws nothing.
                self._redrawn |= self._returned
                self._text = state if self._returned else self._text + state
                self._returned = False

    def _end(self) -> None:
        self.line(self._text)
        self._text, self._returned, self._redrawn = "", False, False
