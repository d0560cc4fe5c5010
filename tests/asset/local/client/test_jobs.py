"""Jobs through the client: from YAML, changed in Python, built in Python; followed, downloaded, stopped."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest
import yaml
from azure.ai.ml import Input, load_component, load_job
from azure.ai.ml.entities import Data, PipelineJob
from azure.ai.ml.exceptions import JobException, ValidationException
from azure.core.exceptions import ResourceNotFoundError

from asset.local.client.client import LocalClient
from asset.local.client.errors import UnsupportedError
from asset.local.client.runs import RUNNING, STARTING, LocalRun
from asset.local.jobs.run_folder import FINISHED, INTERRUPTED, RunFolder, RunState
from asset.local.jobs.runner import MARK
from asset.local.processes import end_marked
from tests.asset.local.client.asset_files import FILES
from tests.asset.local.client.built_job import built_job
from tests.asset.local.jobs.pipeline_files import PIPELINE_FILES


@pytest.fixture
def here(files: Path) -> Path:
    """The folder with the job that counts lines, as the current one."""
    (files / "more.txt").write_text("one\ntwo\nthree\nfour\n", encoding="utf-8")
    return files


def finished(ml_client: LocalClient, job: PipelineJob) -> str:
    """Run a job to its end; return what it shows."""
    started = ml_client.jobs.create_or_update(job)
    assert started.status in ("Starting", "Running")
    ml_client.jobs.stream(started.name)
    ended = ml_client.jobs.get(started.name)
    assert ended.status == "Completed"
    return (Path(ended.outputs["shown"].path) / "result.txt").read_text(encoding="utf-8")


def test_a_job_of_a_file_runs_from_that_file(
    ml_client: LocalClient, here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert finished(ml_client, load_job("job.yml")) == "count: 3\n"
    [job] = ml_client.jobs.list()
    assert (job.experiment_name, job.display_name) == ("counting", "count and show")
    state = RunFolder(ml_client.state / "runs" / job.name).read()
    assert state.job_file == str(here / "job.yml")
    out = capsys.readouterr().out
    assert "count | arguments: lines 1" in out and "show | count: 3" in out
    ml_client.jobs.download(job.name, download_path=tmp_path / "got", output_name="shown")
    assert (tmp_path / "got/named-outputs/shown/result.txt").read_text(encoding="utf-8") == "count: 3\n"
    assert not (tmp_path / "got/artifacts").exists()
    ml_client.jobs.download(job.name, download_path=tmp_path / "all", all=True)
    assert (tmp_path / "all/named-outputs/shown/result.txt").is_file()
    assert "arguments" in (tmp_path / "all/artifacts/count/log.txt").read_text(encoding="utf-8")
    (here / "job.yml").unlink()  # what a run came to is known without it
    found = ml_client.jobs.get(job.name)
    assert (found.status, sorted(found.outputs)) == ("Completed", ["shown"])
    ml_client.jobs.begin_delete(job.name).result()
    assert list(ml_client.jobs.list()) == []


def test_an_input_may_be_changed_in_python(ml_client: LocalClient, here: Path) -> None:
    job = load_job("job.yml")
    job.inputs.data = Input(type="uri_file", path="more.txt")
    job.name = "changed"
    assert finished(ml_client, job) == "count: 4\n"
    written = yaml.safe_load((ml_client.state / "jobs/changed/job.yml").read_text(encoding="utf-8"))
    assert written["inputs"]["data"] == {"type": "uri_file", "path": str(here / "more.txt")}
    # Components that are as their files say stay where they are.
    assert written["jobs"]["count"]["component"] == str(here / "components/count.yml")


def test_a_job_is_built_in_python(ml_client: LocalClient, here: Path) -> None:
    count, show = load_component("components/count.yml"), load_component("components/show.yml")
    count.command = count.command.replace("bash count.sh", "bash ./count.sh")
    job = built_job(count, show)(data=Input(type="uri_file", path="data.txt"), least=2)
    job.settings.default_compute = "serverless"
    assert finished(ml_client, job) == "count: 3\n"
    [found] = ml_client.jobs.list()
    assert found.name.startswith("built-") and found.experiment_name == "building"
    log = ml_client.state / "runs" / found.name / "counted/log.txt"
    assert "arguments: words 2" in log.read_text(encoding="utf-8")
    # The one that was changed is written down.
    assert (ml_client.state / "jobs" / found.name / "counted/component.yml").is_file()


def test_pipeline_components_are_written_down(ml_client: LocalClient, here: Path) -> None:
    for name, text in PIPELINE_FILES.items():
        (here / name).write_text(text, encoding="utf-8")
    job = load_job("job.yml")
    job.display_name = "changed"
    started = ml_client.jobs.create_or_update(job)
    ml_client.jobs.stream(started.name)
    assert ml_client.jobs.get(started.name).status == "Completed"


def test_a_registered_data_asset_and_component_are_found(ml_client: LocalClient, here: Path) -> None:
    ml_client.data.create_or_update(Data(name="lines", version="1", path="more.txt", type="uri_file"))
    ml_client.components.create_or_update(load_component("components/count.yml"))
    document = yaml.safe_load(FILES["job.yml"])
    document["inputs"]["data"]["path"] = "azureml:lines@latest"
    document["jobs"]["count"]["component"] = "azureml:count:1"
    (here / "job.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
    assert finished(ml_client, load_job("job.yml")) == "count: 4\n"


def test_arguments_beside_the_job_change_it(
    ml_client: LocalClient, here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = ml_client.jobs.create_or_update(load_job("job.yml"), experiment_name="other", tags={"a": "b"}, compute="big")
    assert (job.experiment_name, job.tags) == ("other", {"a": "b"})
    assert "compute=big has no effect" in caplog.text
    ml_client.jobs.stream(job.name)


def test_a_failed_job_raises_with_its_log(ml_client: LocalClient, here: Path) -> None:
    (here / "code/show.sh").write_text("echo no; exit 3\n", encoding="utf-8")
    job = ml_client.jobs.create_or_update(load_job("job.yml"))
    with pytest.raises(JobException, match=f"job {job.name} ended as Failed"):
        ml_client.jobs.stream(job.name)
    assert ml_client.jobs.get(job.name).status == "Failed"


def test_a_job_is_stopped(ml_client: LocalClient, here: Path, tmp_path: Path) -> None:
    (here / "code/show.sh").write_text(f"touch {tmp_path}/begun; sleep 60\n", encoding="utf-8")
    job = ml_client.jobs.create_or_update(load_job("job.yml"))
    with pytest.raises(JobException, match="Download is allowed only in states"):
        ml_client.jobs.download(job.name)
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ml_client.jobs.get(job.name).status == "Running"
    ml_client.jobs.begin_cancel(job.name).result()
    assert ml_client.jobs.get(job.name).status == "Canceled"


def test_a_job_that_cannot_run_is_refused_and_leaves_nothing(ml_client: LocalClient, here: Path) -> None:
    job = load_job("job.yml")
    job.inputs.data = Input(type="uri_file", path="gone.txt")
    with pytest.raises(
        ValidationException, match=r"job\.yml:\d+: expected uri_file at .*gone\.txt, found nothing there"
    ):
        ml_client.jobs.create_or_update(job)
    assert list(ml_client.jobs.list()) == []
    assert list((ml_client.state / "runs").iterdir()) == []
    with pytest.raises(ValidationException, match="make it a step of a PipelineJob"):
        ml_client.jobs.create_or_update(load_component("components/count.yml"))  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match="takes no skip_validation"):
        ml_client.jobs.create_or_update(load_job("job.yml"), skip_validation=True)


def test_an_unknown_job_is_not_found(ml_client: LocalClient) -> None:
    with pytest.raises(
        ResourceNotFoundError, match=r"there is no job x on this machine; name one of the last jobs \(none\)"
    ):
        ml_client.jobs.get("x")


def test_a_killed_runner_is_a_failed_job(ml_client: LocalClient, here: Path, tmp_path: Path) -> None:
    (here / "code/show.sh").write_text(f"touch {tmp_path}/begun; sleep 60\n", encoding="utf-8")
    job = ml_client.jobs.create_or_update(load_job("job.yml"))
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    runner = RunFolder(ml_client.state / "runs" / job.name).runner.pid
    assert runner is not None
    os.kill(runner, 9)
    while ml_client.jobs.get(job.name).status == "Running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ml_client.jobs.get(job.name).status == "Failed"
    assert end_marked(MARK, str(ml_client.state / "runs" / job.name))


def test_a_run_whose_runner_is_about_to_end_is_not_starting(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "runs", "job")
    folder.write(RunState(folder.path.name, "job.yml", [], "", INTERRUPTED))
    with folder.lock():
        assert LocalRun(folder).status == STARTING
        folder.write(RunState(folder.path.name, "job.yml", [], "", FINISHED))
        assert LocalRun(folder).status == RUNNING


@pytest.fixture(autouse=True)
def _tell_warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
