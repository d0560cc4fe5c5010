"""A killed run leaves no process behind, and a try that fails is told."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.long.killed_run import descendants, kill, killed

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


def test_a_try_that_fails_is_told_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"asset run -f .*missing\.yml ended with 2; see killed\.log"):
        killed(tmp_path / "killed", ["-f", str(tmp_path / "missing.yml")], 0, 1.0, random.Random(17))
    assert "missing.yml" in (tmp_path / "killed.log").read_text(encoding="utf-8")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
