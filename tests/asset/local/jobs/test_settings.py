"""`--set` changes what it names, by the type of the input, and says what is there where it names nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asset.checks.pipeline.data import OwnModel
from asset.checks.pipeline.job import checked_job
from asset.checks.pipeline.overrides import absolute
from asset.checks.pipeline.source import read_job
from asset.findings import InvalidFileError
from asset.local.jobs.plan import Plan, plan_job

if TYPE_CHECKING:
    from tests.asset.local.jobs.conftest import Asset


def plan(asset: Asset, *settings: str) -> Plan:
    own = OwnModel.read()
    return plan_job(*checked_job(asset.job, settings, own), own)


def inputs(asset: Asset, step: str, *settings: str) -> dict[str, object]:
    return next(one.inputs for one in plan(asset, *settings).steps if one.name == step)


def message(asset: Asset, *settings: str) -> str:
    with pytest.raises(InvalidFileError) as error:
        plan(asset, *settings)
    return str(error.value)


def test_an_input_of_the_job_is_set(asset: Asset) -> None:
    assert inputs(asset, "count", "inputs.mode=words")["mode"] == "words"


def test_a_path_starts_from_the_current_folder(asset: Asset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.txt").write_text("one\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert inputs(asset, "count", "inputs.data.path=other.txt")["data"] == tmp_path / "other.txt"
    assert absolute("inputs.data.path=other.txt") == f"inputs.data.path={tmp_path / 'other.txt'}"
    assert absolute("inputs.data.path=azureml:rows:1") == "inputs.data.path=azureml:rows:1"


def test_an_input_of_one_step_is_set(asset: Asset) -> None:
    found = inputs(
        asset, "count", "jobs.count.inputs.least=3", "jobs.count.inputs.strict=false", "jobs.count.inputs.title=A, b=c"
    )
    assert (found["least"], found["strict"], found["title"]) == ("3", "False", "A, b=c")


def test_data_of_one_step_replaces_a_binding(asset: Asset) -> None:
    found = inputs(asset, "count", "jobs.count.inputs.data.type=uri_file", "jobs.count.inputs.data.path=job.yml")
    assert found["data"] == asset.job


def test_a_file_that_replaces_a_folder_gets_the_type_of_a_file(asset: Asset) -> None:
    asset.edit("job.yml", "type: uri_file\n    path: data.txt", "type: uri_folder\n    path: code")
    _, loaded = checked_job(asset.job, ["inputs.data.path=data.txt"], OwnModel.read())
    assert loaded.inputs["data"]._data.type == "uri_file"
    said = "expected a folder (uri_folder), found the file"
    assert said in message(asset, "inputs.data.type=uri_folder", "inputs.data.path=data.txt")


def test_the_azure_sdk_sees_what_is_set(asset: Asset) -> None:
    _, loaded = checked_job(asset.job, ["inputs.mode=words", "jobs.count.inputs.least=3"], OwnModel.read())
    assert loaded.inputs["mode"]._data == "words"
    assert loaded.jobs["count"].inputs["least"]._data == 3


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("inputs.moode=words", "the job has no input 'moode'; expected one of data, mode, flag; rename it to mode"),
        (
            "jobs.cuont.inputs.mode=words",
            "the job has no step 'cuont'; expected one of show, count; rename it to count",
        ),
        (
            "jobs.count.inputs.x=1",
            "step 'count' has no input 'x'; expected one of data, mode, least, strict, share, title;",
        ),
        ("inputs.data=FILE", "'data' is data (uri_file); write --set inputs.data.path=PATH"),
        ("inputs.data=", "'data' is data (uri_file); write --set inputs.data.path= to leave it out"),
        ("inputs.data=null", "'data' is data (uri_file); write --set inputs.data.path= to leave it out"),
        ("mode=words", "expected inputs.NAME=VALUE, inputs.NAME.path=PATH or jobs.STEP.inputs.NAME=VALUE; write that"),
        (
            "inputs.mode=letters",
            "input 'mode' of step 'count' (the job's 'mode'): expected one of lines, words, found 'letters'",
        ),
        ("jobs.count.inputs.least=x", "input 'least' of step 'count': expected a whole number, found 'x'; correct it"),
        (
            "inputs.data.path=/none",
            "expected uri_file at /none, found nothing there; give --set inputs.data.path=PATH",
        ),
    ],
)
def test_a_wrong_setting_is_refused_with_the_known_ones(asset: Asset, setting: str, said: str) -> None:
    assert message(asset, setting).startswith(f"--set {setting}: {said}")


def test_settings_leave_the_file_as_it_is(asset: Asset) -> None:
    before = asset.job.read_bytes()
    plan(asset, "inputs.mode=words")
    assert asset.job.read_bytes() == before
    assert read_job(asset.job).data["inputs"]["mode"] == "lines"
