"""Processes are recognized, told to end before they are killed, and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from asset.local.processes import Background, ProcessId, end_marked, kill, start, stop
from tests.asset.local.jobs.processes import alive, wait_for

# Like a runner that waits for its step to write down where it is, and kills it at a second interrupt.
TAKES_ITS_TIME = """
import signal, sys, time

def told(number, frame):
    print(number, flush=True)
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, told)
print("begun", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(6)
    print("in order", flush=True)
"""

NESTED = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("there", flush=True)
time.sleep(600)
"""


def test_a_process_gets_one_signal_and_time_to_end(tmp_path: Path) -> None:
    process = Background(tmp_path / "process.json", tmp_path / "log")
    process.start([sys.executable, "-c", TAKES_ITS_TIME])
    deadline = time.monotonic() + 30
    while not process.log.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.stop()
    assert not process.runs
    assert process.log.read_text(encoding="utf-8").splitlines() == ["begun", "15", "in order"]


def test_a_process_is_not_a_later_one_of_the_same_number() -> None:
    process = start(["sleep", "600"])
    identity = ProcessId.of(process.pid)
    assert identity is not None and identity.runs
    assert not replace(identity, started=identity.started - 1).runs
    kill(process)
    assert not identity.runs
    assert ProcessId.of(process.pid) is None


def test_the_identity_does_not_change_with_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = ProcessId.of(os.getpid())
    boot, linux_boot = psutil.boot_time(), psutil._pslinux.boot_time
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: linux_boot() + 3600)
    assert psutil.boot_time() == boot + 3600
    assert ProcessId.of(os.getpid()) == identity


def test_a_process_of_another_number_is_not_killed() -> None:
    process = start(["sleep", "600"])
    identity = ProcessId.of(process.pid)
    assert identity is not None
    stop([replace(identity, started=identity.started - 1)])
    assert process.poll() is None
    stop([identity])
    assert process.wait() == -15


def test_a_process_is_killed_with_those_below_it_in_sessions_of_their_own() -> None:
    process = start([sys.executable, "-c", NESTED], output=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    below = psutil.Process(process.pid).children()
    assert len(below) == 1
    kill(process)
    wait_for(lambda: not alive(below[0].pid), 5)
    assert not alive(process.pid)


def test_a_process_that_ends_in_order_leaves_nothing_below_it() -> None:
    process = start([sys.executable, "-c", NESTED], output=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    below = psutil.Process(process.pid).children()
    stop([process])
    assert process.returncode == -15
    wait_for(lambda: not alive(below[0].pid), 5)


def test_leftovers_are_found_by_their_mark(tmp_path: Path) -> None:
    mark = "ASSET_TEST_MARK"
    ours = os.environ | {mark: str(tmp_path)}
    marked = start(["bash", "-c", "setsid sleep 300 & echo up; wait"], variables=ours, output=subprocess.PIPE)
    other = start(["sleep", "300"], variables=os.environ | {mark: "/another"})
    assert marked.stdout is not None
    marked.stdout.readline()
    ended = end_marked(mark, str(tmp_path))
    assert len(ended) == 2 and not any(alive(pid) for pid in ended)
    assert alive(other.pid)
    kill(other)
    marked.wait()
