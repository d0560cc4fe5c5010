"""Worker processes, seen from the benchmark: one for each system, all alive, one at work at a time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STOP_SECONDS = 10.0
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
"""Nothing is looked for on a hub, and every system tokenizes on the thread that asks."""


class WorkerError(RuntimeError):
    """A system cannot do what it was told; the message is its own."""


def interpreter(environment: str) -> Path:
    """Return the Python of an environment; raises WorkerError where it is not set up."""
    python = ROOT / ".venv" / environment / "bin/python"
    if not python.exists():
        raise WorkerError(f"expected the environment .venv/{environment}, found none; `make bench` sets it up")
    return python


def environment_of(threads: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables that every process of the benchmark gets."""
    threading = {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    return {**os.environ, **OFFLINE, **threading, **(extra or {})}


class Member:
    """A worker process."""

    def __init__(self, name: str, process: subprocess.Popen[str], log: Path) -> None:
        """Take a process that runs benchmarks.worker; `hire` starts one."""
        self.name = name
        self._process = process
        self._log = log

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """Send a command and return its answer; raises WorkerError where it failed or the process died."""
        assert self._process.stdin and self._process.stdout
        line = ""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            last = self._log.read_text(encoding="utf-8", errors="replace").strip().split("\n")[-1]
            raise WorkerError(f"its process ended with status {self._process.wait()}: {last} (all of it: {self._log})")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{answer['error'][:500]} (its log: {self._log})")
        return answer

    def dismiss(self) -> None:
        """End the process."""
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@contextlib.contextmanager
def hired(name: str, environment: str, threads: int, logs: Path) -> Iterator[Member]:
    """Start a worker in an environment of .venv; it is ended with the block."""
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{name.replace(' ', '-').replace(',', '')}.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [str(interpreter(environment)), "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment_of(threads),
            cwd=ROOT,
        )
    member = Member(name, process, log)
    try:
        yield member
    finally:
        member.dismiss()
