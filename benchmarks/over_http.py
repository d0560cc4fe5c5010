"""The parts over HTTP: servers under closed-loop load, ours under too much load, and start-up."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

from benchmarks.inputs import sentences
from benchmarks.load import LoadError, closed_loop, generator
from benchmarks.machine import OtherWork
from benchmarks.servers import MLFLOW, OURS, Running, ServerError, running, save_for_mlflow, servers
from benchmarks.workers import ROOT, WorkerError
from serving.settings import Settings

CONNECTIONS = (1, 8, 32, 64)
WARM_UP_SECONDS = 2.0


def measure(
    model: Path, cache: Path, threads: int, seconds: float, names: Sequence[str], say: Callable[[str], None]
) -> dict[str, Any]:
    """Load each server for some seconds at each number of connections, with one sentence in each request."""
    report: dict[str, Any] = {"model": model.name, "generator": generator(), "servers": {}, "problems": {}}
    for name in names:
        say(f"over HTTP: {name}")
        try:
            report["servers"][name] = _loaded(name, model, cache, threads, seconds, report)
        except (ServerError, WorkerError, LoadError, OSError, HTTPException) as exc:
            report["problems"][name] = str(exc)
            say(f"{name} is left out: {exc}")
    return report


def _loaded(
    name: str, model: Path, cache: Path, threads: int, seconds: float, report: dict[str, Any]
) -> dict[str, Any]:
    if name == MLFLOW:
        save_for_mlflow(model, cache, threads, cache / "logs/mlflow-save.log")
    server = servers(model, cache, threads)[name]
    bodies = _bodies(cache, name, [server.body(text) for text in sentences()])
    figures: dict[str, Any] = {}
    with running(server, sentences()[0], threads, cache / f"logs/{_slug(name)}.log") as up:
        closed_loop(up.url, bodies, min(CONNECTIONS), WARM_UP_SECONDS)
        for connections in CONNECTIONS:
            # The server answers this request only after the queue that the last load left.
            server.ask(up.port, sentences()[0])
            others = OtherWork()
            loaded = closed_loop(up.url, bodies, connections, seconds)
            figures[str(connections)] = {**loaded, "other_work": others.share()}
        figures["resident_mb"] = up.resident_mb()
        figures["first_answer_seconds"] = up.first_answer_seconds
    return figures


def overload(
    model: Path, cache: Path, threads: int, seconds: float, sustainable: float | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Send ours twice the load that it can sustain, which is measured with 32 connections if it is not known.

    `memory_mb` is the memory of the serving process: before, after, the most, and the medians of the first and the last
    third.
    """
    server = servers(model, cache, threads)[OURS]
    bodies = _bodies(cache, OURS, [server.body(text) for text in sentences()])
    with running(server, sentences()[0], threads, cache / "logs/overload.log") as up:
        warm = closed_loop(up.url, bodies, 32, WARM_UP_SECONDS if sustainable else 5.0)
        rate = 2 * (sustainable or warm["requests_per_second"])
        say(f"overload: {rate:.0f} requests a second for {seconds:.0f} s")
        before = up.resident_mb()
        watch = MemoryWatch(up)
        command = [sys.executable, "-m", "benchmarks.load", "--url", up.url, "--bodies", str(bodies)]
        command += ["--rate", f"{rate:.3f}", "--seconds", f"{seconds:g}"]
        with watch:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LoadError(f"benchmarks.load ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
        memory = {"before": before, "after": up.resident_mb(), **watch.summary()}
    report = json.loads(done.stdout)
    return {"offered_per_second": rate, "deadline_ms": Settings().deadline_ms, "memory_mb": memory, **report}


class MemoryWatch:
    """Samples the resident memory of a server twice a second while the block runs."""

    def __init__(self, server: Running) -> None:
        """Take the server."""
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.samples: list[float] = []

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(0.5):
            self.samples.append(self._server.resident_mb())

    def summary(self) -> dict[str, float]:
        """Return the largest sample, and the medians of the first and the last third."""
        third = max(1, len(self.samples) // 3)
        if not self.samples:
            return {}
        first, last = self.samples[:third], self.samples[-third:]
        return {
            "most": max(self.samples),
            "first_third": statistics.median(first),
            "last_third": statistics.median(last),
        }


def start_up(
    model: Path, cache: Path, threads: int, times: int, names: Sequence[str], say: Callable[[str], None]
) -> dict[str, Any]:
    """Start the servers in turn with a compiled model; returns the seconds to the first answer of each."""
    measured: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "resident_mb": []} for name in names}
    described = servers(model, cache, threads)
    for number in range(times + 1):
        say(f"start-up: {number} of {times}")
        for name in names:
            with running(described[name], sentences()[0], threads, cache / f"logs/start-{_slug(name)}.log") as up:
                if number:  # the first start compiles and fills the page cache
                    measured[name]["seconds"].append(up.first_answer_seconds)
                    time.sleep(0.2)
                    measured[name]["resident_mb"].append(up.resident_mb())
    return {
        name: {
            "median_seconds": statistics.median(kept["seconds"]),
            "median_resident_mb": statistics.median(kept["resident_mb"]),
            **kept,
        }
        for name, kept in measured.items()
    }


def _bodies(cache: Path, name: str, bodies: Sequence[str]) -> Path:
    path = cache / f"bodies-{_slug(name)}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{body}\n" for body in bodies), encoding="utf-8")
    return path


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)
