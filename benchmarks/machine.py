"""What the figures were measured on, for the header of the report."""

from __future__ import annotations

import contextlib
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.crew import ROOT

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
PACKAGES = ("torch", "transformers", "onnxruntime", "openvino", "nncf", "mlflow", "litserve")


def describe(threads: int, cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """Return the CPU, its instructions that matter here, memory, threads, versions, commit and date."""
    facts = dict(
        (part.strip() for part in line.split(":", 1))
        for line in cpuinfo.read_text(encoding="utf-8").split("\n\n")[0].split("\n")
        if ":" in line
    )
    flags = set(facts.get("flags", "").split())
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "cpu": facts.get("model name", platform.processor() or "unknown"),
        "instructions": [flag for flag in FLAGS if flag in flags],
        "threads": threads,
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "server": _pinned("bench-azureml", "azureml-inference-server-http"),
        "commit": commit.stdout.strip() or "unknown",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


class OtherWork:
    """How much of the CPU went to processes that are not the benchmark's: their work makes its figures worthless."""

    def __init__(self) -> None:
        """Start counting."""
        self._start = self._counted()

    def share(self) -> float:
        """Return the share of the CPU's time since the start, from 0 to 1, that others used; 0 where it is not known."""
        passed, busy, own = (now - then for now, then in zip(self._counted(), self._start, strict=True))
        return min(1.0, max(0.0, busy - own) / passed) if passed else 0.0

    def _counted(self) -> tuple[float, float, float]:
        """Return seconds of all CPUs: in all, busy, and those of this process and all below it."""
        import psutil

        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        own = 0.0
        me = psutil.Process()
        for process in (me, *me.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                used = process.cpu_times()
                own += used.user + used.system + used.children_user + used.children_system
        whole = sum(times) - times.guest - times.guest_nice
        return whole, whole - idle, own


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _pinned(environment: str, package: str) -> str:
    """Return the version of a package in an environment's pins."""
    pins = (ROOT / f"environment/{environment}/requirements.txt").read_text(encoding="utf-8").split()
    return next((pin for pin in pins if pin.startswith(f"{package}==")), f"{package} unknown")
