"""A job whose disk becomes full, or MLflow's: it is told, and goes on from there once there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.small_disk import SmallDisk

if TYPE_CHECKING:
    from tests.asset.local.jobs.conftest import Asset


def test_a_job_that_finds_no_room_fails_in_one_line_and_goes_on_once_there_is(
    asset: Asset, small_disk: SmallDisk
) -> None:
    asset.state = small_disk.path / "state"
    asset.state.mkdir()
    asset.flag.write_text(f"cat /dev/zero > {small_disk.path}/ballast 2> /dev/null || true\n", encoding="utf-8")
    runner = asset.start("run", "-f", str(asset.job), "--set", f"inputs.flag={asset.flag}")
    _, errors = runner.communicate(timeout=120)
    assert runner.returncode == 1
    assert "No space left on device" in errors and "Traceback" not in errors
    assert asset.last_state.steps["count"].status == "finished"
    small_disk.free()
    asset.flag.unlink()
    result = asset("run", "--resume")
    assert result.exit_code == 0, result.output
    assert "count: kept" in result.stdout
    assert asset.last_state.status == "finished"


def test_a_store_of_mlflow_that_is_full_does_not_stop_a_job(asset: Asset, small_disk: SmallDisk) -> None:
    store = asset.state / "mlflow.db"
    (small_disk.path / "mlflow.db").write_bytes(store.read_bytes())
    store.unlink()
    store.symlink_to(small_disk.path / "mlflow.db")
    small_disk.fill()
    result = asset.run()
    assert result.exit_code == 0, result.output
    assert result.stdout.count("MLflow cannot track this run") == 1
    assert "database or disk is full" in result.stdout
    assert asset.last_state.status == "finished"
