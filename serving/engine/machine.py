"""What this process may use of the CPU.

How much memory this process may ever have: a model that takes more is refused before it is read.
"""

from __future__ import annotations

import math
import os
import resource
from pathlib import Path

from serving.errors import ModelFolderError

CGROUP_LIMITS = (Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))
"""Where a container's CPU quota is read: cgroup v2, and v1 with its period beside it."""


def usable_cpus(limits: tuple[Path, Path] = CGROUP_LIMITS) -> int:
    """Return how many CPUs this process may really use: its affinity, cut by its cgroup's quota.

    ONNX Runtime counts the host's cores instead, and a container's threads then wait for each other's time slices.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _quota(*limits))))


def _quota(v2: Path, v1: Path) -> float:
    """Return the quota in CPUs; infinity where there is none or it cannot be read."""
    try:
        if v2.exists():
            quota, period = v2.read_text().split()
        else:
            quota, period = v1.read_text(), v1.with_name("cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (OSError, ValueError):  # no cgroup here, or "max": no quota
        return math.inf


def has_int8_products(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether the CPU multiplies uint8 by int8 into int32 in one instruction (VNNI or AMX).

    Without it int8 takes longer: numbers are widened to 16 bits before they are multiplied (serving.engine.session).
    """
    return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(cpu_flags(cpuinfo))


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the names of what the CPU can do, as Linux lists them; none where it does not."""
    try:
        line = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
    except OSError:  # not Linux: assume the least
        return frozenset()
    return frozenset(line.partition(":")[2].split())


CGROUP_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container's limit is read: cgroup v2, and v1."""

GB = 1e9


def usable_memory(limits: tuple[Path, ...] = CGROUP_MEMORY_LIMITS, meminfo: Path = Path("/proc/meminfo")) -> float:
    """Return the bytes that this process can have at most: the machine's, cut by its cgroup and its own limits.

    Infinity where nothing can be read. What other processes have now is not taken off: it may be given back.
    """
    found = [float(most) for most, _ in map(resource.getrlimit, (resource.RLIMIT_AS, resource.RLIMIT_DATA)) if most > 0]
    try:
        found.append(int(meminfo.read_text().partition("MemTotal:")[2].split()[0]) * 1024)
    except (OSError, IndexError, ValueError):  # not Linux
        pass
    for limit in limits:
        try:
            found.append(int(limit.read_text()))
        except (OSError, ValueError):  # no cgroup here, or "max": no limit
            continue
    return min(found, default=math.inf)


def check_fits(what: str, size: float) -> None:
    """Raise ModelFolderError where so many bytes are more than this process can ever have."""
    most = usable_memory()
    if size > most:
        raise ModelFolderError(
            f"{what}: expected at most the {most / GB:.3g} GB of memory that this process may have, found {size / GB:.3g} GB; "
            "serve it where there is more memory"
        )
