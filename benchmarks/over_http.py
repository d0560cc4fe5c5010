"""Servers under closed-loop load, and ours under more load than it can take."""

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

from benchmarks import closed_loop
from benchmarks.closed_loop import LoadError
from benchmarks.crew import ROOT, WorkerError
from benchmarks.inputs import sentences
from benchmarks.machine import OtherWork
from benchmarks.servers import MLFLOW, OURS, Running, ServerError, running, save_for_mlflow, servers
from serving.settings import Settings

CONNECTIONS = (1, 8, 32, 64)
WARM_UP_SECONDS = 2.0


def measure(
    model: Path, cache: Path, threads: int, seconds: float, names: Sequence[str], say: Callable[[str], None]
) -> dict[str, Any]:
    """Load each server at each number of connections, one sentence a request, for so many seconds each."""
    report: dict[str, Any] = {"model": model.name, "generator": closed_loop.generator(), "servers": {}, "problems": {}}
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
    found: dict[str, Any] = {}
    with running(server, sentences()[0], threads, cache / f"logs/{_slug(name)}.log") as up:
        closed_loop.load(up.url, bodies, min(CONNECTIONS), WARM_UP_SECONDS)
        for connections in CONNECTIONS:
            # What the load before left in the server's queue, it works off before it takes this request.
            server.ask(up.port, sentences()[0])
            others = OtherWork()
            loaded = closed_loop.load(up.url, bodies, connections, seconds)
            found[str(connections)] = {**loaded, "other_work": others.share()}
        found["resident_mb"] = up.resident_mb()
        found["first_answer_seconds"] = up.first_answer_seconds
    return found


def overload(
    model: Path, cache: Path, threads: int, seconds: float, sustainable: float | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Send ours twice what it can sustain, open loop; without that figure, it is measured first with 32 connections.

    `memory_mb` is of the serving process: before, after, the most, and the medians of the first and last third.
    """
    server = servers(model, cache, threads)[OURS]
    bodies = _bodies(cache, OURS, [server.body(text) for text in sentences()])
    with running(server, sentences()[0], threads, cache / "logs/overload.log") as up:
        warm = closed_loop.load(up.url, bodies, 32, WARM_UP_SECONDS if sustainable else 5.0)
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
    """Samples a server's resident memory each half second while the block runs."""

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
        """Return the most, and the medians of the first and the last third."""
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
    """Return for each server the seconds from process start to first answer, in turn; the model is compiled before."""
    found: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "resident_mb": []} for name in names}
    described = servers(model, cache, threads)
    for number in range(times + 1):
        say(f"start-up: {number} of {times}")
        for name in names:
            with running(described[name], sentences()[0], threads, cache / f"logs/start-{_slug(name)}.log") as up:
                if number:  # the first start compiled, and filled the page cache
                    found[name]["seconds"].append(up.first_answer_seconds)
                    time.sleep(0.2)
                    found[name]["resident_mb"].append(up.resident_mb())
    return {
        name: {
            "median_seconds": statistics.median(kept["seconds"]),
            "median_resident_mb": statistics.median(kept["resident_mb"]),
            **kept,
        }
        for name, kept in found.items()
    }


def _bodies(cache: Path, name: str, bodies: Sequence[str]) -> Path:
    path = cache / f"bodies-{_slug(name)}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{body}\n" for body in bodies), encoding="utf-8")
    return path


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)
