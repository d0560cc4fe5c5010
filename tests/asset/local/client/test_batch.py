"""Batch endpoints of this machine: what a job is started with, how it is followed, and how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import Input, load_batch_endpoint, load_environment, load_model
from azure.ai.ml.entities import Data
from azure.ai.ml.entities._load_functions import load_model_batch_deployment
from azure.ai.ml.exceptions import JobException, ValidationException
from azure.core.exceptions import ResourceNotFoundError

from asset.environments import ROOT
from asset.local.batch.settings import BatchSettings
from asset.local.client import batch_runs
from asset.local.client.batch_runs import LocalBatchRun, new_batch_run
from asset.local.client.client import LocalClient
from asset.local.client.errors import UnsupportedError
from asset.local.client.runs import COMPLETED
from asset.local.processes import Background


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `run_batch` is called with, in this process: a driver that writes one line."""
    found: list[dict[str, Any]] = []

    def run_batch(input: Path, output: Path, settings: BatchSettings) -> None:
        found.append({"input": input, "output": output, "settings": settings})
        if "bad" in input.name:
            raise ValueError("4 mini-batches failed, more than error_threshold 3")
        output.mkdir(parents=True)
        (output / settings.output_file_name).write_text("done\n", encoding="utf-8")

    monkeypatch.setattr(batch_runs, "run_batch", run_batch)

    def start(run: LocalBatchRun) -> None:
        run.log.write_text("a line of the log\n", encoding="utf-8")
        run.run()

    monkeypatch.setattr(LocalBatchRun, "start", start)
    return found


@pytest.fixture
def batch(ml_client: LocalClient, files: Path) -> LocalClient:
    ml_client.models.create_or_update(load_model("model.yml"))
    ml_client.environments.create_or_update(load_environment("environment/serving/environment.yaml"))
    endpoint = load_batch_endpoint("deployment/batch-endpoint.yml")
    ml_client.begin_create_or_update(endpoint).result()
    ml_client.begin_create_or_update(load_model_batch_deployment("deployment/batch-deployment.yml")).result()
    endpoint.defaults = {"deployment_name": "rows"}
    ml_client.batch_endpoints.begin_create_or_update(endpoint).result()
    return ml_client


def test_a_job_gets_what_the_deployment_says(
    batch: LocalClient, files: Path, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    job = batch.batch_endpoints.invoke("tiny-batch", input=Input(type="uri_file", path="rows.jsonl"))
    [given] = calls
    settings = given["settings"]
    model = settings.model
    assert model.parts[-2:] == ("tiny", "17") and (model / "model/weights.bin").is_file()
    assert given["input"] == files / "rows.jsonl"
    assert given["output"] == batch.state / "batch_jobs" / job.name / "output"
    assert settings == BatchSettings(
        code=files / "app",
        script="batch_score.py",
        python=ROOT / ".venv/serving/bin/python",
        model=model,
        variables={"BERT_SERVING_PRECISION": "fp32"},
        mini_batch_size=5,
        max_concurrency=2,
        max_retries=2,
        timeout=60,
        error_threshold=3,
        output_action="append_row",
        output_file_name="rows.jsonl",
        logging_level="info",
    )
    batch.jobs.stream(job.name)
    assert capsys.readouterr().out == "a line of the log\n"
    assert batch.jobs.get(job.name).status == "Completed"
    # As in Azure's notebooks: the scoring step of a job has its output.
    [child] = batch.jobs.list(parent_job_name=job.name)
    batch.jobs.download(child.name, output_name="score", download_path=files / "got")
    assert (files / "got/named-outputs/score/rows.jsonl").read_text(encoding="utf-8") == "done\n"
    assert [found.name for found in batch.batch_endpoints.list_jobs("tiny-batch")] == [job.name]
    assert list(batch.batch_deployments.list_jobs("tiny-batch", name="other")) == []


def test_a_job_that_fails_says_why(batch: LocalClient, files: Path, calls: list[dict[str, Any]]) -> None:
    (files / "bad.jsonl").touch()
    job = batch.batch_endpoints.invoke(
        "tiny-batch", inputs={"rows": Input(type="uri_file", path="bad.jsonl")}, job_name="mine"
    )
    assert (job.name, job.status) == ("mine", "Failed")
    with pytest.raises(JobException, match="job mine ended as Failed"):
        batch.jobs.stream("mine")
    with pytest.raises(ValidationException, match="there is a job mine already"):
        batch.batch_endpoints.invoke("tiny-batch", input=Input(type="uri_file", path="rows.jsonl"), job_name="mine")


def test_a_job_that_ends_while_it_is_looked_at_has_not_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_batch_run(tmp_path, "mine", {})

    def ends(process: Background) -> bool:
        run.end(COMPLETED)
        return False

    monkeypatch.setattr(Background, "runs", property(ends))
    assert run.status == COMPLETED


def test_a_registered_data_asset_is_found(batch: LocalClient, files: Path, calls: list[dict[str, Any]]) -> None:
    batch.data.create_or_update(Data(name="rows", path="rows.jsonl", type="uri_file"))
    batch.batch_endpoints.invoke("tiny-batch", input=Input(type="uri_file", path="azureml:rows@latest"))
    assert calls[0]["input"] == files / "rows.jsonl"


def test_input_that_is_not_one_file_or_folder_here_is_refused(batch: LocalClient, calls: list[dict[str, Any]]) -> None:
    data = Input(type="uri_file", path="rows.jsonl")
    for given, message in (
        ({"input": Input(type="uri_file", path="gone.jsonl")}, "there is no file or folder"),
        ({"input": Input(type="uri_file", path="https://example.org/rows")}, "is not on this machine"),
        ({}, "takes one Input of azure.ai.ml, and 0 were passed"),
        ({"inputs": {"a": data, "b": data}}, "takes one Input of azure.ai.ml, and 2 were passed"),
        ({"input": data, "deployment_name": "other"}, "Deployment name other not found"),
    ):
        with pytest.raises(ValidationException, match=message):
            batch.batch_endpoints.invoke("tiny-batch", **given)
    with pytest.raises(UnsupportedError, match="takes no outputs"):
        batch.batch_endpoints.invoke("tiny-batch", input=data, outputs={"score": "x"})
    assert calls == []


def test_names_are_those_of_azure_however_they_are_written(batch: LocalClient, calls: list[dict[str, Any]]) -> None:
    assert batch.batch_endpoints.get("Tiny-Batch").name == "tiny-batch"
    data = Input(type="uri_file", path="rows.jsonl")
    job = batch.batch_endpoints.invoke("Tiny-Batch", deployment_name="Rows", input=data)
    assert [found.name for found in batch.batch_deployments.list_jobs("TINY-batch", name="ROWS")] == [job.name]


def test_deployments_are_kept_and_removed(batch: LocalClient) -> None:
    assert batch.batch_endpoints.get("tiny-batch").defaults.deployment_name == "rows"
    assert [found.name for found in batch.batch_deployments.list("tiny-batch")] == ["rows"]
    assert [found.name for found in batch.batch_endpoints.list()] == ["tiny-batch"]
    batch.batch_deployments.begin_delete("rows", "tiny-batch").result()
    with pytest.raises(ResourceNotFoundError, match=r"tiny-batch has no deployment rows \(it has: none\)"):
        batch.batch_deployments.get("rows", "tiny-batch")
    batch.batch_endpoints.begin_delete("tiny-batch").result()
    with pytest.raises(
        ResourceNotFoundError, match=r"no batch endpoint tiny-batch on this machine \(there are: none\)"
    ):
        batch.batch_endpoints.get("tiny-batch")
