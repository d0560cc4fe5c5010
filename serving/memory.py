"""How much memory this process may ever have: a model that takes more is refused before it is read."""

from __future__ import annotations

import math
import resource
from pathlib import Path

from serving.errors import ModelFolderError

CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container's limit is read: cgroup v2, and v1."""

GB = 1e9


def usable_memory(limits: tuple[Path, ...] = CGROUP_LIMITS, meminfo: Path = Path("/proc/meminfo")) -> float:
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
