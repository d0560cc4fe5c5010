"""Worker processes: each holds one system of benchmarks.peers, and one of them works at a time.

A worker is `python -m benchmarks.workers` in the environment of its system. It reads a JSON object a line and answers
with a JSON object a line:

    {"do": "prepare", "system": NAME, "model": …, "cache": …, "threads": 2}   -> {"versions": {…}}
    {"do": "answer", "batch": {…}}                                             -> {"tokens": […], "scores": […]}
    {"do": "time", "batch": {…}, "seconds": 0.2, "warm_up": true}              -> {"seconds": [of each call]}
    {"do": "ceiling", "threads": 2}                                            -> the figures of benchmarks.machine.ceiling

The answer to a command that fails is {"error": …}. A library that prints cannot disturb the answers: they go to a copy of
standard output, and standard output itself becomes standard error.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from benchmarks.inputs import Batch
from benchmarks.peers.systems import SYSTEMS, Job, Peer

ROOT = Path(__file__).resolve().parents[1]
STOP_SECONDS = 10.0
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
"""Nothing is fetched from a hub, and every system tokenizes on the calling thread."""

PACKAGES = ("torch", "transformers", "onnxruntime", "openvino", "nncf", "onnx", "tokenizers", "numpy")


class WorkerError(RuntimeError):
    """A system is not set up or failed; the message is the system's own."""


def interpreter(environment: str) -> Path:
    """Return the Python of an environment; raises WorkerError if the environment is not set up."""
    python = ROOT / ".venv" / environment / "bin/python"
    if not python.exists():
        raise WorkerError(f"the environment .venv/{environment} is missing; `make bench` sets it up")
    return python


def environment_of(threads: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables of every process of the benchmark."""
    threading = {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    return {**os.environ, **OFFLINE, **threading, **(extra or {})}


# In the benchmark's process


class Member:
    """A worker process, seen from the benchmark."""

    def __init__(self, name: str, process: subprocess.Popen[str], log: Path) -> None:
        """Take a process that runs this module; `hired` starts it."""
        self.name = name
        self._process = process
        self._log = log

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """Send a command and return its answer; raises WorkerError if the command failed or the process died."""
        assert self._process.stdin and self._process.stdout
        line = ""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            last = self._log.read_text(encoding="utf-8", errors="replace").strip().split("\n")[-1]
            raise WorkerError(f"its process ended with status {self._process.wait()}: {last} (whole log: {self._log})")
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
    """Start a worker in an environment of .venv, and end it with the block."""
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{name.replace(' ', '-').replace(',', '')}.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [str(interpreter(environment)), "-m", "benchmarks.workers"],
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


# In the worker's process


class Worker:
    """Carries out commands. A batch is parsed before the timing starts."""

    peer: Peer

    def prepare(self, system: str, model: str, cache: str, threads: int, **options: object) -> dict[str, Any]:
        """Load a system; returns the versions of its packages. `options` are added to the options of the system."""
        described = SYSTEMS[system]
        module, name = described.maker
        maker = getattr(importlib.import_module(module), name)
        self.peer = maker(**{**described.options, **options})
        self.peer.prepare(Job(Path(model), Path(cache), threads))
        loaded = [package for package in PACKAGES if package in sys.modules]
        return {"versions": {package: importlib.metadata.version(package) for package in loaded}}

    def answer(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the best tokens and their probabilities."""
        tokens, scores = self.peer.run(Batch(**batch))
        return {"tokens": tokens, "scores": scores}

    def time(self, batch: dict[str, Any], seconds: float, warm_up: bool) -> dict[str, Any]:
        """Return the seconds of each call: as many calls as fit into `seconds`, at least one."""
        rows, run = Batch(**batch), self.peer.run
        if warm_up:
            run(rows)
        calls: list[float] = []
        end = time.perf_counter() + seconds
        while not calls or time.perf_counter() < end:
            start = time.perf_counter()
            run(rows)
            calls.append(time.perf_counter() - start)
        return {"seconds": calls}

    def ceiling(self, threads: int) -> dict[str, Any]:
        """Return what the hardware can do."""
        return dict(importlib.import_module("benchmarks.machine").ceiling(threads))


def serve(commands: TextIO, answers: TextIO) -> None:
    """Answer commands until there are no more."""
    worker = Worker()
    for line in commands:
        command = json.loads(line)
        try:
            answer = getattr(worker, command.pop("do"))(**command)
        except Exception as exc:
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        serve(sys.stdin, answers)
