"""How jobs are stopped, and what is told of them meanwhile."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from asset.local.client.runs import RUNNING, STARTING, LocalRun
from asset.local.jobs.run_folder import FINISHED, INTERRUPTED, RunFolder, RunState
from asset.local.processes import Background

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


def test_a_process_is_told_once_and_waited_for(tmp_path: Path) -> None:
    process = Background(tmp_path / "process.json", tmp_path / "log")
    process.start([sys.executable, "-c", TAKES_ITS_TIME])
    deadline = time.monotonic() + 30
    while not process.log.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.stop()
    assert not process.runs
    assert process.log.read_text(encoding="utf-8").splitlines() == ["begun", "15", "in order"]


def test_a_run_whose_runner_is_about_to_end_is_not_starting(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "runs", "job")
    folder.write(RunState(folder.path.name, "job.yml", [], "", INTERRUPTED))
    with folder.lock():
        assert LocalRun(folder).status == STARTING
        folder.write(RunState(folder.path.name, "job.yml", [], "", FINISHED))
        assert LocalRun(folder).status == RUNNING
