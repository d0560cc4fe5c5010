"""What the figures were measured on, for the header of the report."""

from __future__ import annotations

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


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _pinned(environment: str, package: str) -> str:
    """Return the version of a package in an environment's pins."""
    pins = (ROOT / f"environment/{environment}/requirements.txt").read_text(encoding="utf-8").split("\n")
    return next((pin for pin in pins if pin.startswith(f"{package}==")), f"{package} unknown")
