"""A small checkout on a machine whose /proc and cgroup are folders of the test's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from asset.checks.doctor.check import Machine

ROOT = Path(__file__).resolve().parents[4]

FLAGS = {
    "amx": "fma bmi2 avx2 avx512f avx512bw avx512dq avx512vl avx512_vnni avx512_bf16 amx_tile amx_int8 amx_bf16",
    "vnni": "fma bmi2 avx2 avx512f avx512bw avx512dq avx512vl avx512_vnni",
    "old": "fma bmi2 avx2",
}


@pytest.fixture
def machine(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with AMX, 8 GB to be had, and a checkout that has a tiny embedded model and no environments."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root, proc = tmp_path / "checkout", tmp_path / "proc"
    for folder in (root, proc, tmp_path / "cgroup", tmp_path / "home", tmp_path / "bin"):
        folder.mkdir()
    for file in ("pyproject.toml", "sku_lists.yaml"):
        shutil.copy(ROOT / file, root / file)
    shutil.copytree(ROOT / "environment", root / "environment")
    shutil.copytree(checkpoint, root / "model/embedded", ignore=shutil.ignore_patterns(".compiled"))
    (proc / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {FLAGS['amx']}\n")
    (proc / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n")
    environ = {"PATH": str(tmp_path / "bin")}
    return Machine(root, environ, (3, 11, 7), proc, tmp_path / "cgroup", 0, tmp_path / "home")


@pytest.fixture
def with_variables(machine: Machine) -> Callable[..., Machine]:
    """Give the machine variables of the environment."""
    return lambda **variables: replace(machine, environ={**machine.environ, **variables})


@pytest.fixture
def with_cpu(machine: Machine) -> Callable[[str], Machine]:
    """Give the machine another CPU: amx, vnni or old."""

    def give(kind: str) -> Machine:
        (machine.proc / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {FLAGS[kind]}\n")
        return machine

    return give
