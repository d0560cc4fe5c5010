"""Run the command of a step: its processes, their output, and how they are stopped.

A command goes through bash, which stops at the first part of it that fails, as on Azure. Each process leads a group of
its own, so that what it started is stopped with it and a Ctrl-C reaches the runner alone, which then tells the step.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from asset.local.processes import Signals, end_marked, signal_group, start, stop

BASH = ("bash", "-e", "-o", "pipefail", "-c")
STOPPING = ((signal.SIGINT, 10.0), (signal.SIGTERM, 5.0))
"""The signals that a step gets, and the seconds that it has after each to end; then it is killed."""

Output = Callable[[int], tuple[Callable[[bytes], None], Callable[[], None]]]
"""For a process's number, what takes the bytes that it writes and what is called at their end."""


@dataclass(frozen=True)
class Launch:
    """What is run, where, with which environment variables, and as how many processes (None: one, not distributed)."""

    command: str
    folder: Path
    variables: Mapping[str, str]
    processes: int | None = None
    mark: tuple[str, str] | None = None
    """An environment variable, which is among `variables`, and its value: what has it at the end is ended."""


class StepProcess:
    """The running processes of a step."""

    def __init__(self, launch: Launch, output: Output) -> None:
        """Start them; each writes to what `output` returns for its number, from a thread of its own."""
        self.problem: Exception | None = None
        """Why the output could not be taken to its end; the command ran on."""
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
        """Return the process id of each, which is its group's too."""
        return [process.pid for process in self._processes]

    def wait(self, limit: float | None = None) -> int:
        """Return the exit status: 0 when all ended with 0, else that of the first that failed; the others are stopped then.

        A status is as a shell gives it: 137 for a process that SIGKILL ended.

        Raises:
            TimeoutError: some still run after `limit` seconds.
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

    def stop(self, signals: Signals = STOPPING) -> None:
        """Tell the step to end, ever more firmly; a KeyboardInterrupt meanwhile kills it at once."""
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
        # What it left behind would keep its output open and write on; on Azure the container goes with the command.
        # At once, as long as no other group can have got its number.
        signal_group(process.pid, signal.SIGKILL)
        self._ended.put(status)

    def _read(self, process: subprocess.Popen[bytes], feed: Callable[[bytes], None], close: Callable[[], None]) -> None:
        """Pass on what a process writes. A problem there is not the command's, whose pipe is emptied on."""
        assert process.stdout is not None
        with process.stdout as pipe:
            while piece := os.read(pipe.fileno(), 65536):
                self._try(feed, piece)
        self._try(close)

    def _try(self, act: Callable[..., None], *arguments: bytes) -> None:
        if self.problem is None:
            try:
                act(*arguments)
            except Exception as exc:  # noqa: BLE001  whatever it is, the thread has to go on reading
                self.problem = exc

    def _finish(self) -> None:
        """Leave no process, and read what they wrote to its end."""
        if self._mark:
            # A process in a session of its own is in none of the groups, and its pipe would keep the readers waiting.
            end_marked(*self._mark)
        for thread in self._threads:
            thread.join(timeout=5.0)


def _variables_of_each(launch: Launch) -> list[dict[str, str]]:
    """Return the environment of each process; a distributed one finds its rank and the others there, as on Azure."""
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
