"""`--resume` keeps what is finished, runs what is not, and takes nothing half-written for an output."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asset.local.jobs.errors import RunError
from asset.local.jobs.run_folder import STATE, RunFolder, RunState, StepFolder, now
from tests.asset.local.jobs.processes import alive, wait_for

if TYPE_CHECKING:
    from tests.asset.local.jobs.conftest import Asset

KEPT = "count: kept, it finished at"


def half_written(asset: Asset) -> list[Path]:
    return list(asset.state.glob("runs/*/show/outputs.unfinished/result/result.txt"))


def fail_in_the_middle(asset: Asset) -> None:
    asset.flag.write_text("exit 3\n", encoding="utf-8")
    assert asset.run().exit_code == 1


def test_a_failed_run_goes_on_with_the_step_that_failed(asset: Asset) -> None:
    fail_in_the_middle(asset)
    [half] = half_written(asset)
    assert half.read_text(encoding="utf-8") == "half\n" and not (asset.last.path / "outputs").exists()
    asset.flag.unlink()
    result = asset("run", "--resume")
    assert result.exit_code == 0, result.output
    assert KEPT in result.stdout and "show: starts" in result.stdout and "count: starts" not in result.stdout
    assert (asset.last.path / "outputs/shown/result.txt").read_text(encoding="utf-8") == "count: 3\n"
    assert half_written(asset) == [] and len(list((asset.state / "runs").iterdir())) == 1
    assert asset.last_state.status == "finished"


def test_a_runner_that_was_killed_is_continued(asset: Asset) -> None:
    asset.flag.write_text(f"echo $$ > {asset.folder}/pid; sleep 300\n", encoding="utf-8")
    runner = asset.start("run", "-f", str(asset.job), "--set", f"inputs.flag={asset.flag}")
    wait_for(lambda: half_written(asset) and (asset.folder / "pid").exists() and (asset.folder / "pid").read_text())
    runner.send_signal(signal.SIGKILL)
    runner.communicate()
    left = int((asset.folder / "pid").read_text(encoding="utf-8"))
    assert alive(left) and asset.last_state.status == "running"
    assert half_written(asset) and not (asset.last.path / "show/outputs").exists()
    asset.flag.unlink()
    again = asset.start("run", "--resume", asset.last.path.name)
    output, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert KEPT in output and "processes that an earlier runner left behind" in output
    assert not alive(left) and half_written(asset) == []
    assert (asset.last.path / "outputs/shown/result.txt").read_text(encoding="utf-8") == "count: 3\n"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: (a.folder / "code/new.sh").write_text("echo\n"), "its code changed"),
        (lambda a: (a.folder / "data.txt").write_text("one\n"), "its inputs changed"),
        (lambda a: a.edit("components/count.yml", "bash count.sh", "bash  count.sh"), "its command changed"),
        (lambda a: (a.last.path / "count/outputs/counted").unlink(), "an output of it is gone"),
    ],
    ids=["code", "data", "component", "output"],
)
def test_a_finished_step_runs_again_if_something_changed(
    asset: Asset, change: Callable[[Asset], object], reason: str
) -> None:
    fail_in_the_middle(asset)
    asset.flag.unlink()
    change(asset)
    result = asset("run", "--resume")
    assert result.exit_code == 0, result.output
    assert f"count: runs again, as {reason}" in result.stdout


def test_a_step_runs_again_after_a_step_that_it_takes_outputs_from(asset: Asset) -> None:
    assert asset.run().exit_code == 0
    (asset.last.path / "count/outputs/counted").unlink()
    result = asset("run", "--resume")
    assert "show: runs again, as count ran again" in result.stdout and result.exit_code == 0


def test_a_step_runs_again_after_a_step_that_it_takes_outputs_from_also_if_another_failed_first(asset: Asset) -> None:
    asset.add_step("aside", f"[ ! -e {asset.folder}/no ]")
    assert asset.run().exit_code == 0
    (asset.last.path / "count/outputs/counted").unlink()
    (asset.folder / "no").write_text("", encoding="utf-8")
    assert asset("run", "--resume").exit_code == 1
    assert set(asset.last_state.steps) == {"count", "aside"}
    (asset.folder / "no").unlink()
    result = asset("run", "--resume")
    assert result.exit_code == 0, result.output
    assert KEPT in result.stdout and "show: starts" in result.stdout and "show: kept" not in result.stdout


def test_a_step_is_not_called_finished_while_its_outputs_are_removed(
    asset: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asset.run().exit_code == 0
    (asset.folder / "code/new.sh").write_text("echo\n", encoding="utf-8")
    monkeypatch.setattr(StepFolder, "clear", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert asset("run", "--resume").exit_code == 130
    assert asset.last_state.steps == {}


def test_a_try_that_fails_has_nothing_of_the_one_before(asset: Asset) -> None:
    metrics = {"task": "fill-mask", "metrics": [{"name": "accuracy@1", "value": 0.5}]}
    asset.flag.write_text(f"echo '{json.dumps(metrics)}' > $2/metrics.json\n", encoding="utf-8")
    assert json.loads(asset.run("--json").stdout)["metrics"] == {"accuracy@1": 0.5}
    before = asset.last_state.mlflow_run_id
    asset.flag.write_text("exit 3\n", encoding="utf-8")
    result = asset("run", "--resume", "--json", "--set", "inputs.mode=words")
    found = json.loads(result.stdout)
    assert (found["status"], found["outputs"], found["metrics"]) == ("failed", {}, {})
    assert list((asset.last.path / "outputs").iterdir()) == []
    assert asset.last_state.mlflow_run_id not in (None, before)


def test_a_finished_step_whose_output_is_now_taken_runs_again(asset: Asset) -> None:
    assert asset.run().exit_code == 0
    asset.edit("job.yml", "outputs:\n  shown:", "outputs:\n  odd:\n    type: uri_file\n  shown:")
    asset.edit(
        "job.yml",
        "      mode: ${{parent.inputs.mode}}\n",
        "      mode: ${{parent.inputs.mode}}\n    outputs:\n      rejects: ${{parent.outputs.odd}}\n",
    )
    result = asset("run", "--resume")
    assert "count: runs again, as an output of it is gone" in result.stdout and result.exit_code == 1
    assert "did not write rejects, which the job uses" in result.stderr


def test_a_finished_run_has_nothing_to_do(asset: Asset) -> None:
    assert asset.run().exit_code == 0
    result = asset("run", "--resume")
    assert result.exit_code == 0 and "starts" not in result.stdout


def test_caches_do_not_count_as_changes(asset: Asset) -> None:
    fail_in_the_middle(asset)
    asset.flag.unlink()
    for name in ("code/__pycache__/x.pyc", "code/.cache/x", "code/outputs/x", "code/logs/x"):
        (asset.folder / name).parent.mkdir()
        (asset.folder / name).write_text("x", encoding="utf-8")
    assert KEPT in asset("run", "--resume").stdout


def test_local_state_in_the_code_does_not_count_as_a_change(asset: Asset) -> None:
    asset.state = asset.state.rename(asset.folder / "code/state")
    assert asset.run().exit_code == 0
    result = asset("run", "--resume")
    assert KEPT in result.stdout and "show: kept" in result.stdout


def test_settings_of_the_run_hold_and_can_be_changed(asset: Asset) -> None:
    asset.flag.write_text("exit 3\n", encoding="utf-8")
    asset.run("--set", "inputs.mode=words")
    asset.flag.unlink()
    assert KEPT in asset("run", "--resume").stdout
    result = asset("run", "--resume", "--set", "inputs.mode=lines")
    assert "count: runs again" in result.stdout
    assert asset.last_state.steps["count"].inputs["mode"] == "lines"


def test_the_last_run_of_a_job_is_the_one_that_is_continued(asset: Asset) -> None:
    fail_in_the_middle(asset)
    other = asset.folder / "other.yml"
    other.write_text(asset.job.read_text(encoding="utf-8"), encoding="utf-8")
    asset("run", "-f", str(other))
    asset.flag.unlink()
    result = asset("run", "--resume", "-f", str(asset.job))
    assert "run job-" in result.stdout and result.exit_code == 0


def test_a_missing_run_is_refused_with_the_last_ones(asset: Asset) -> None:
    assert "there is no run in" in asset("run", "--resume").stderr
    fail_in_the_middle(asset)
    result = asset("run", "--resume", "job-1999")
    assert result.exit_code == 2
    assert f"there is no run job-1999 in {asset.state}/runs (the last runs: {asset.last.path.name})" in result.stderr
    assert "needs --resume before it" in asset("run", asset.last.path.name).stderr


def test_two_runners_of_one_run_are_refused(asset: Asset) -> None:
    fail_in_the_middle(asset)
    with asset.last.lock():
        result = asset("run", "--resume")
    assert result.exit_code == 2
    assert f"run {asset.last.path.name} is in use by process {os.getpid()}; wait for it, or stop it" in result.stderr
    asset.flag.unlink()
    assert asset("run", "--resume").exit_code == 0


def test_the_state_is_never_seen_in_part(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    state = RunState("x", "/job.yml", ["inputs.a=é"], now())
    folder.write(state)
    (tmp_path / ".left-by-a-kill.partial").write_text('{"name": ', encoding="utf-8")
    assert folder.read() == state
    folder.write(state)
    assert json.loads((tmp_path / STATE).read_text(encoding="utf-8"))["settings"] == ["inputs.a=é"]


def test_a_state_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / STATE).write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match="the state of the run in .*run.json cannot be read: .*; start a new run"):
        RunFolder(tmp_path).read()
