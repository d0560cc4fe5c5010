"""The CPUs and the memory that this process may use.

A model that needs more memory than the process may ever have is refused before it is read.
"""

from __future__ import annotations

import math
import os
import resource
from pathlib import Path

from serving.errors import ModelFolderError

CGROUP_LIMITS = (Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))
"""The files with a container's CPU quota: of cgroup v2, and of v1, whose period is in a file beside it."""

CGROUP_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""The files with a container's memory limit: of cgroup v2, and of v1."""

GB = 1e9


def usable_cpus(limits: tuple[Path, Path] = CGROUP_LIMITS) -> int:
    """Return how many CPUs this process may really use: its affinity, limited by its cgroup's quota.

    ONNX Runtime counts the host's cores instead, and a container's threads then wait for each other's time slices.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _quota(*limits))))


def _quota(v2: Path, v1: Path) -> float:
    """Return the quota in CPUs; infinity if there is none or it cannot be read."""
    try:
        if v2.exists():
            quota, period = v2.read_text().split()
        else:
            quota, period = v1.read_text(), v1.with_name("cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (OSError, ValueError):  # no cgroup here, or "max": no quota
        return math.inf


def has_int8_products(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the CPU multiplies uint8 by int8 into int32 in one instruction (VNNI or AMX).

    Without it int8 takes longer: numbers are widened to 16 bits before they are multiplied (serving.engine.session).
    """
    return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(cpu_flags(cpuinfo))


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the CPU's features by the names that Linux lists; none if there is no list."""
    try:
        line = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
    except OSError:  # not Linux: assume the least
        return frozenset()
    return frozenset(line.partition(":")[2].split())


def usable_memory(limits: tuple[Path, ...] = CGROUP_MEMORY_LIMITS, meminfo: Path = Path("/proc/meminfo")) -> float:
    """Return the most bytes that this process can have: the machine's memory, limited by its cgroup and its own limits.

    Infinity if nothing can be read. Memory that other processes use now is not subtracted, as they may free it.
    """
    sizes = [float(most) for most, _ in map(resource.getrlimit, (resource.RLIMIT_AS, resource.RLIMIT_DATA)) if most > 0]
    try:
        sizes.append(int(meminfo.read_text().partition("MemTotal:")[2].split()[0]) * 1024)
    except (OSError, IndexError, ValueError):  # not Linux
        pass
    for limit in limits:
        try:
            sizes.append(int(limit.read_text()))
        except (OSError, ValueError):  # no cgroup here, or "max": no limit
            continue
    return min(sizes, default=math.inf)


def check_fits(what: str, size: float) -> None:
    """Raise ModelFolderError if `size` bytes are more than this process can ever have."""
    most = usable_memory()
    if size > most:
        raise ModelFolderError(
            f"{what}: {size / GB:.3g} GB of memory are needed, and this process may have at most {most / GB:.3g} GB; "
            "use a machine with more memory"
        )
