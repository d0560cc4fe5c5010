"""A run that is told to stop stops its step first, says so, and can be continued."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.asset.local.jobs.processes import gone

if TYPE_CHECKING:
    from tests.asset.local.jobs.conftest import Asset


def start(asset: Asset, script: str, *arguments: str) -> subprocess.Popen[str]:
    """Start the job, and wait until the step `show` is in the middle of its work."""
    asset.flag.write_text(f"echo $$ > {asset.folder}/pid.new; mv {asset.folder}/pid.new {asset.folder}/pid; {script}\n")
    runner = asset.start("run", "-f", str(asset.job), "--set", f"inputs.flag={asset.flag}", *arguments)
    deadline = time.monotonic() + 60
    while not (asset.folder / "pid").exists():
        assert runner.poll() is None and time.monotonic() < deadline, "the step did not start"
        time.sleep(0.05)
    return runner


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_stop_reaches_the_step_and_is_shown(asset: Asset, number: signal.Signals) -> None:
    runner = start(asset, f"sleep 300 & echo $! > {asset.folder}/child; wait")
    while not (asset.folder / "child").exists():
        time.sleep(0.05)
    runner.send_signal(number)
    _, errors = runner.communicate(timeout=30)
    assert runner.returncode == 130
    assert f"asset run --asset-dir {asset.state} --resume {asset.last.path.name}" in errors and "interrupted" in errors
    assert "Traceback" not in errors
    state = asset.last_state
    assert (state.status, state.steps["count"].status, state.steps["show"].status) == (
        "interrupted",
        "finished",
        "interrupted",
    )
    assert all(gone(int((asset.folder / name).read_text(encoding="utf-8"))) for name in ("pid", "child"))
    asset.flag.unlink()
    result = asset("run", "--resume")
    assert result.exit_code == 0 and "count: kept" in result.stdout


def test_a_step_may_save_its_work_first(asset: Asset) -> None:
    runner = start(asset, "trap 'echo saved; exit 1' INT; while true; do sleep 0.05; done")
    runner.send_signal(signal.SIGINT)
    output, _ = runner.communicate(timeout=30)
    assert runner.returncode == 130 and "show | saved" in output


def test_a_second_ctrl_c_does_not_wait(asset: Asset) -> None:
    runner = start(asset, "trap '' INT TERM; while true; do sleep 0.05; done", "--json")
    runner.send_signal(signal.SIGINT)
    time.sleep(1)
    assert runner.poll() is None
    started = time.monotonic()
    runner.send_signal(signal.SIGINT)
    output, _ = runner.communicate(timeout=30)
    assert runner.returncode == 130 and time.monotonic() - started < 5
    assert json.loads(output)["status"] == "interrupted"
    assert gone(int((asset.folder / "pid").read_text(encoding="utf-8")))
