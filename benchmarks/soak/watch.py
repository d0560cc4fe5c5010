"""What a server's process holds: memory, open files and threads, looked at again and again while the load runs."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks.servers import Running


@dataclass(frozen=True)
class Sample:
    """The serving process at a moment, in seconds since the start of the watch."""

    at: float
    pid: int
    resident_mb: float
    files: int
    threads: int

    def as_dict(self) -> dict[str, float]:
        """Return it for JSON."""
        return asdict(self)


def sample(server: Running, began: float) -> Sample:
    """Look at the process that serves: the largest below the one that was started."""
    below = psutil.Process(server.process.pid).children(recursive=True)
    process = max(below, key=lambda one: one.memory_info().rss)
    files = sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())
    memory, threads = process.memory_info().rss / 1e6, process.num_threads()
    return Sample(time.perf_counter() - began, process.pid, memory, files, threads)


class Watch:
    """Samples servers by name while the block runs."""

    def __init__(self, servers: dict[str, Running], every: float) -> None:
        """Take the servers, and the seconds from one sample to the next."""
        self.samples: dict[str, list[Sample]] = {name: [] for name in servers}
        self.began = time.perf_counter()
        self._servers, self._every, self._ended = servers, every, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def look(self) -> dict[str, Sample]:
        """Return how the servers are now."""
        return {name: sample(server, self.began) for name, server in self._servers.items()}

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            for name, server in self._servers.items():
                # A server that ended is found by the exchanges; between two workers there is none for a moment.
                try:
                    self.samples[name].append(sample(server, self.began))
                except (psutil.Error, OSError, ValueError):
                    continue
