"""Closed-loop load over so many connections: by wrk where it is there, else by benchmarks.load."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.crew import ROOT

UNPACKED = ROOT / ".venv/wrk"
SCRIPT = Path(__file__).with_name("wrk.lua")
TIMEOUT_SECONDS = 30


class LoadError(RuntimeError):
    """The load generator failed."""


def wrk_command() -> tuple[list[str], dict[str, str]] | None:
    """Return how to start wrk, and its environment: the system's, or the one that `make bench` unpacked."""
    installed = shutil.which("wrk")
    if installed:
        return [installed], dict(os.environ)
    unpacked = UNPACKED / "usr/bin/wrk"
    if not unpacked.is_file():
        return None
    libraries = ":".join(str(folder) for folder in (UNPACKED / "usr/lib").glob("*-linux-gnu"))
    return [str(unpacked)], {**os.environ, "LD_LIBRARY_PATH": libraries}


def generator() -> str:
    """Return the name and version of what generates the load."""
    found = wrk_command()
    if not found:
        return "benchmarks.load (Python; no wrk here)"
    shown = subprocess.run([*found[0], "-v"], env=found[1], capture_output=True, text=True, check=False).stdout
    return " ".join(shown.split()[:2])


def load(url: str, bodies: Path, connections: int, seconds: float) -> dict[str, Any]:
    """Load a server; returns requests_per_second of the 2xx, their p50, p90, p99, p100 in ms, and `failed`.

    Raises LoadError where the generator itself failed.
    """
    found = wrk_command()
    if not found:
        return _by_python(url, bodies, connections, seconds)
    command, environment = found
    # One thread: the server needs the CPUs.
    options = ["-t1", f"-c{connections}", f"-d{seconds:g}s", f"--timeout={TIMEOUT_SECONDS}s", f"-s{SCRIPT}"]
    done = subprocess.run(
        [*command, *options, url, "--", str(bodies)], env=environment, capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.split("\n") if line.startswith("RESULT ")]
    if done.returncode or not lines:
        raise LoadError(f"wrk ended with status {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return figures(json.loads(lines[0].removeprefix("RESULT ")))


def figures(counted: dict[str, float]) -> dict[str, Any]:
    """Return wrk's counts as figures.

    >>> figures({"seconds": 2, "requests": 10, "not_2xx": 4, "socket_errors": 0, "timeouts": 1, "p50": 9.5})
    {'requests_per_second': 3.0, 'failed': 5, 'p50': 9.5}
    """
    failed = counted["not_2xx"] + counted["socket_errors"] + counted["timeouts"]
    good = (counted["requests"] - counted["not_2xx"]) / counted["seconds"]
    return {"requests_per_second": good, "failed": failed, **{k: v for k, v in counted.items() if k.startswith("p")}}


def _by_python(url: str, bodies: Path, connections: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.load", "--url", url, "--bodies", str(bodies)]
    command += ["--connections", str(connections), "--seconds", f"{seconds:g}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadError(f"benchmarks.load ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    found = json.loads(done.stdout)
    failed = sum(count for status, count in found["statuses"].items() if status != "200")
    return {"requests_per_second": found["requests_per_second"], "failed": failed, **found["ms"]}
