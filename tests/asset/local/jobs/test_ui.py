"""`asset ui` shows the runs at the address that it prints, and only on this machine."""

from __future__ import annotations

import re
import signal
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.asset.local.jobs.conftest import Asset


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=["Ctrl-C", "closed terminal"])
def test_mlflow_answers_at_the_address_that_is_printed(asset: Asset, number: signal.Signals) -> None:
    ui = asset.start("ui", "--port", "0")
    try:
        line = ui.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"{found[0]}/health", timeout=5) as answer:
                    assert answer.read() == b"OK"
                break
            except OSError:
                assert ui.poll() is None and time.monotonic() < deadline, "MLflow's server did not start"
                time.sleep(0.2)
    finally:
        ui.send_signal(number)
        _, errors = ui.communicate(timeout=30)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{found[0]}/health", timeout=5)
    assert ui.returncode == 0 and "Traceback" not in errors


def test_without_runs_ui_names_the_command_that_makes_one(asset: Asset) -> None:
    (asset.state / "mlflow.db").unlink()
    result = asset("ui")
    assert result.exit_code == 2
    assert f"there are no runs: {asset.state}/mlflow.db is missing; make a run with `asset run -f …`" in result.stderr


def test_a_port_that_does_not_exist_is_refused(asset: Asset) -> None:
    result = asset("ui", "--port", "70000")
    assert result.exit_code == 2 and "less than or equal to 65535" in result.stderr
