"""A killed run leaves no process behind."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.killed_run import descendants, kill

NESTED = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("there", flush=True)
time.sleep(600)
"""


def test_a_process_is_killed_with_those_below_it_in_sessions_of_their_own() -> None:
    process = subprocess.Popen([sys.executable, "-c", NESTED], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    found = descendants(process.pid)
    assert len(found) == 2
    kill(process)
    deadline = time.monotonic() + 5
    while any(_runs(pid) for pid in found) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(_runs(pid) for pid in found)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
