"""A process that is attacked: `python -m tests.torture.worker KIND SEED FOLDER`, one case a line of standard input.

For each it writes a line of JSON: how it ended, or a traceback, what it took, and what the process holds now. What the
product prints goes to a log in the folder.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from tests.torture.attack import EVERY, Attack, BrokenPromise

SETTLING = 25
"""Cases between two that are settled: what only the collector frees, or the allocator keeps for the next, is no leak."""

C = ctypes.CDLL(None)


def held(process: int) -> dict[str, int]:
    """Return what a process holds: resident bytes, the most it had since `forget`, descriptors and threads."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {
        "rss": int(fields["VmRSS"].split()[0]) * 1024,
        "peak": int(fields["VmHWM"].split()[0]) * 1024,
        "threads": int(fields["Threads"]),
        "descriptors": len(os.listdir(f"/proc/{process}/fd")),
    }


def forget(process: int) -> None:
    """Make a process's peak of memory what it has now (proc(5), clear_refs)."""
    Path(f"/proc/{process}/clear_refs").write_text("5", encoding="utf-8")


def run_case(attack: Attack, number: int) -> dict[str, Any]:
    """Do one case and return what is said of it."""
    watched = attack.watched()
    forget(watched)
    before, start = held(watched)["rss"], time.perf_counter()
    said: dict[str, Any] = {"case": number}
    try:
        said["outcomes"] = attack.case(number)
    except BrokenPromise as exc:
        said["failure"] = f"{exc}"
    except BaseException:  # whatever it is, even what is no Exception, as a panic in a library's native code
        said["failure"] = traceback.format_exc()
    said["seconds"] = time.perf_counter() - start
    if settled := number % SETTLING == 0:
        gc.collect()
        C.malloc_trim(0)
    now = held(watched) | {"settled": settled}
    return said | now | {"taken": now["peak"] - before}


def main() -> None:
    """Run until standard input ends."""
    name, seed, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    kind = EVERY[name]
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.enable()
    if kind.data:
        resource.setrlimit(resource.RLIMIT_DATA, (kind.data, kind.data))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    attack = kind.start(folder, seed)
    replies.write(json.dumps({"ready": True, "watched": attack.watched()}) + "\n")
    for line in sys.stdin:
        replies.write(json.dumps(run_case(attack, int(line))) + "\n")
        if os.path.getsize(folder / "log") > 1 << 24:
            os.truncate(folder / "log", 0)
    try:
        attack.close()
    except BrokenPromise as exc:
        replies.write(json.dumps({"failure": str(exc)}) + "\n")


if __name__ == "__main__":
    main()
