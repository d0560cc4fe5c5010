"""Runs are in MLflow: the job, its steps below it, their inputs, status, time and log."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from asset.environments import VirtualEnvironment
from asset.local.jobs.tracking import database, set_up, tracking_uri

if TYPE_CHECKING:
    from tests.asset.local.jobs.conftest import Asset


ROOT = Path(__file__).resolve().parents[4]


def runs(asset: Asset) -> dict[str, Run]:
    client = MlflowClient(tracking_uri(asset.state))
    experiment = client.get_experiment_by_name("counting")
    assert experiment is not None
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_a_job_is_a_run_with_a_run_for_each_step(asset: Asset) -> None:
    assert asset.run().exit_code == 0
    found, state = runs(asset), asset.last_state
    assert set(found) == {state.name, "count", "show"}
    job, count = found[state.name], found["count"]
    assert {run.data.tags.get("mlflow.parentRunId") for run in (count, found["show"])} == {job.info.run_id}
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert job.data.params["mode"] == "lines" and count.data.params["data"] == str(asset.folder / "data.txt")
    assert 0 < count.data.metrics["seconds"] < 60
    artifacts = MlflowClient(tracking_uri(asset.state)).list_artifacts(count.info.run_id)
    assert [artifact.path for artifact in artifacts] == ["log.txt"]
    log = Path(asset.state / "mlflow" / count.info.run_id / "artifacts/log.txt")
    assert log.read_text(encoding="utf-8") == "arguments: lines 1 True\n"


def test_a_failed_run_is_one_run_when_it_is_continued(asset: Asset) -> None:
    asset.flag.write_text("exit 3\n", encoding="utf-8")
    asset.run()
    name = asset.last_state.name
    assert (runs(asset)[name].info.status, runs(asset)["show"].info.status) == ("FAILED", "FAILED")
    asset.flag.unlink()
    asset("run", "--resume")
    assert runs(asset)[name].info.status == "FINISHED"
    assert asset.last_state.mlflow_run_id == runs(asset)[name].info.run_id


def test_what_a_step_logs_goes_to_its_own_run(asset: Asset) -> None:
    asset.flag.write_text(
        "python -c 'import mlflow; mlflow.log_metric(\"accuracy_at_1\", 0.25)'\n",
        encoding="utf-8",
    )
    result = asset.run()
    assert result.exit_code == 0, result.output
    assert runs(asset)["show"].data.metrics["accuracy_at_1"] == 0.25
    assert runs(asset)["show"].info.status == "FINISHED"


def test_metrics_of_a_step_that_cannot_open_the_store_are_logged_for_it(
    asset: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VirtualEnvironment, "has", lambda self, package: package != "sqlalchemy")
    for name in ("TRACKING_URI", "REGISTRY_URI", "EXPERIMENT_NAME"):
        monkeypatch.setenv(f"MLFLOW_{name}", "https://elsewhere.example")
    figures = [{"name": "accuracy@1", "value": 0.25}, {"name": "none", "value": None}]
    metrics = {"task": "fill-mask", "metrics": figures}
    asset.flag.write_text(
        f"env | grep MLFLOW && exit 3; echo '{json.dumps(metrics)}' > $2/metrics.json\n", encoding="utf-8"
    )
    result = asset.run()
    assert result.exit_code == 0, result.output
    show = runs(asset)["show"]
    assert show.data.metrics["accuracy_at_1"] == 0.25
    artifacts = MlflowClient(tracking_uri(asset.state)).list_artifacts(show.info.run_id)
    assert {artifact.path for artifact in artifacts} == {"log.txt", "metrics.json", "result.txt"}


def test_a_store_gets_its_name_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.link", stop)
        with pytest.raises(KeyboardInterrupt):
            set_up(tmp_path)
    assert list(tmp_path.iterdir()) == []
    set_up(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [database(tmp_path).name]


def test_setting_up_the_store_is_shown_in_one_line(asset: Asset) -> None:
    database(asset.state).unlink()
    runner = asset.start("run", "-f", str(asset.job), "--set", f"inputs.flag={asset.flag}")
    output, errors = runner.communicate(timeout=120)
    assert (runner.returncode, errors) == (0, "")
    assert "setting up MLflow's store, once" in output and "INFO" not in output and "alembic" not in output


def test_a_store_is_made_in_silence(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from asset.local.jobs.tracking import set_up; set_up(Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "") and database(tmp_path).exists()


LOG = """\
import mlflow
for step in (1, 2, 3):
    mlflow.log_metric("loss", 1 / step, step=step)
mlflow.log_param("learning_rate", 2e-5)
"""


def test_a_step_of_fine_tuning_logs_to_its_run_itself(asset: Asset) -> None:
    if not (ROOT / ".venv/finetune/.installed").exists():
        pytest.skip("the environment of fine-tuning is not set up (make setup SETS=finetune)")
    (asset.folder / "environment/dev").rename(asset.folder / "environment/finetune")
    for name in ("count", "show"):
        asset.edit(f"components/{name}.yml", "environment/dev/", "environment/finetune/")
    (asset.folder / "log.py").write_text(LOG, encoding="utf-8")
    asset.flag.write_text(f"python {asset.folder}/log.py\n", encoding="utf-8")
    result = asset.run()
    assert result.exit_code == 0, result.output
    show = runs(asset)["show"]
    assert show.info.status == "FINISHED" and show.data.params["learning_rate"] == "2e-05"
    history = MlflowClient(tracking_uri(asset.state)).get_metric_history(show.info.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert Path(asset.last_state.steps["show"].log).read_text(encoding="utf-8") == "count: 3\n"
