"""Each thing that is wrong in a job is said with its file, its line and what to do."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asset.checks.pipeline.data import OwnModel
from asset.checks.pipeline.job import checked_job
from asset.checks.pipeline.source import read_job
from asset.findings import InvalidFileError

if TYPE_CHECKING:
    from tests.asset.local.jobs.conftest import Asset

COUNT, SHOW, JOB = "components/count.yml", "components/show.yml", "job.yml"

# What is changed in which file; the text that stands on the line that is named, of the same file unless another is
# given; what is said; and whether the Azure SDK lets it through.
BROKEN = {
    "an unknown key in a component": (
        (COUNT, "code: ../code", "code: ../code\ncomand_line: x"),
        (COUNT, "comand_line"),
        "the component has an unknown key 'comand_line'",
        True,
    ),
    "a default outside its enum": (
        (COUNT, "default: lines", "default: letters"),
        (COUNT, "default: letters"),
        "the default of input 'mode': expected one of lines, words, found 'letters'; choose one of those",
        True,
    ),
    "a default over its max": (
        (COUNT, "default: 1\n", "default: 12\n"),
        (COUNT, "default: 12"),
        "the default of input 'least': expected at most 9, found 12; correct it",
        True,
    ),
    "a job's value outside a step's enum": (
        (JOB, "mode: lines", "mode: letters"),
        (JOB, "mode: letters"),
        "input 'mode' of step 'count' (the job's 'mode'): expected one of lines, words, found 'letters'",
        True,
    ),
    "a step's value outside its enum": (
        (JOB, "mode: ${{parent.inputs.mode}}", "mode: letters"),
        (JOB, "mode: letters"),
        "input 'mode' of step 'count': expected one of lines, words, found 'letters'; choose one of those",
        True,
    ),
    "a step's value under its min": (
        (JOB, "mode: ${{parent.inputs.mode}}", "least: -1"),
        (JOB, "least: -1"),
        "input 'least' of step 'count': expected at least 0, found -1; correct it",
        True,
    ),
    "a step's value over its max": (
        (JOB, "mode: ${{parent.inputs.mode}}", "least: 10"),
        (JOB, "least: 10"),
        "input 'least' of step 'count': expected at most 9, found 10; correct it",
        True,
    ),
    "a step's value of another type": (
        (JOB, "mode: ${{parent.inputs.mode}}", "least: many"),
        (JOB, "least: many"),
        "input 'least' of step 'count': expected a whole number, found 'many'; correct it",
        True,
    ),
    "a text for a boolean": (
        (JOB, "mode: ${{parent.inputs.mode}}", "strict: perhaps"),
        (JOB, "strict: perhaps"),
        "input 'strict' of step 'count': expected true or false, found 'perhaps'; correct it",
        True,
    ),
    "a text for data": (
        (JOB, "data: ${{parent.inputs.data}}", "data: data.txt"),
        (JOB, "data: data.txt"),
        "input 'data' of step 'count': expected data (uri_folder), found 'data.txt'; write {type: uri_folder, path: …}",
        True,
    ),
    "data for a plain input": (
        (JOB, "mode: ${{parent.inputs.mode}}", "mode: ${{parent.inputs.data}}"),
        (JOB, "  data:\n"),
        "input 'mode' of step 'count' (the job's 'data'): expected a string, found data (uri_file); give a plain value",
        True,
    ),
    "an output for a plain input": (
        (JOB, "flag: ${{parent.inputs.flag}}", "flag: ${{parent.jobs.count.outputs.counted}}"),
        (JOB, "flag: ${{parent.jobs"),
        "input 'flag' of step 'show': expected a string, found data, ${{parent.jobs.count.outputs.counted}}",
        True,
    ),
    "an unknown step input": (
        (JOB, "mode: ${{parent.inputs.mode}}", "moode: words"),
        (JOB, "moode"),
        "step 'count' has no input 'moode'; expected one of data, mode, least, strict, share, title; rename it to mode",
        True,
    ),
    "an unknown step output": (
        (JOB, "result: ${{parent.outputs.shown}}", "resul: ${{parent.outputs.shown}}"),
        (JOB, "resul:"),
        "step 'show' has no output 'resul'; expected one of result; rename it to result",
        True,
    ),
    "an unknown key in a step": (
        (JOB, "component: ./components/count.yml", "component: ./components/count.yml\n    input: {}"),
        (JOB, "    input: {}"),
        "step 'count' has an unknown key 'input'",
        True,
    ),
    "a missing required input": (
        (JOB, "      flag: ${{parent.inputs.flag}}\n", ""),
        (JOB, "inputs:\n      counted"),
        "step 'show' gets no 'flag', which its component requires; add `flag: …` to its inputs",
        False,
    ),
    "a required input bound to an input without value": (
        (JOB, "    path: data.txt\n", ""),
        (JOB, "  data:\n"),
        "the job's input 'data' has no value, and 'data' of step 'count' requires one; "
        "give it with --set inputs.data.path=…",
        True,
    ),
    "a binding to a parent input that is not there": (
        (JOB, "${{parent.inputs.mode}}", "${{parent.inputs.mod}}"),
        (JOB, "inputs.mod}"),
        "input 'mode' of step 'count': ${{parent.inputs.mod}}: the job has no input 'mod'; "
        "expected one of data, mode, flag; rename it to mode",
        True,
    ),
    "a binding to a step that is not there": (
        (JOB, "parent.jobs.count.", "parent.jobs.cuont."),
        (JOB, "cuont"),
        "the job has no step 'cuont'; expected one of show, count; rename it to count",
        True,
    ),
    "a binding to a step's output that is not there": (
        (JOB, "outputs.counted}}", "outputs.count}}"),
        (JOB, "outputs.count}}"),
        "step 'count' has no output 'count'; expected one of counted, rejects; rename it to counted",
        True,
    ),
    "a binding to a parent output that is not there": (
        (JOB, "parent.outputs.shown", "parent.outputs.show"),
        (JOB, "parent.outputs.show"),
        "${{parent.outputs.show}}: the job has no output 'show'; expected one of shown; rename it to shown",
        True,
    ),
    "a binding that lacks its parent": (
        (JOB, "${{parent.inputs.mode}}", "${{inputs.mode}}"),
        (JOB, "{{inputs.mode"),
        "expected ${{parent.inputs.NAME}} or ${{parent.jobs.STEP.outputs.NAME}}, found ${{inputs.mode}}; write one",
        True,
    ),
    "a job output that nothing writes": (
        (JOB, "    outputs:\n      result: ${{parent.outputs.shown}}\n", ""),
        (JOB, "  shown:"),
        "expected one step that writes the job's output 'shown', found none",
        True,
    ),
    "steps in a circle": (
        (JOB, "data: ${{parent.inputs.data}}", "data: ${{parent.jobs.show.outputs.result}}"),
        (JOB, "  show:\n"),
        "expected steps in an order, found a circle: show -> count -> show; cut it",
        True,
    ),
    "missing local data": (
        (JOB, "path: data.txt", "path: dat.txt"),
        (JOB, "dat.txt"),
        "expected uri_file at dat.txt, found nothing there; give --set inputs.data.path=PATH",
        True,
    ),
    "a folder for a file": (
        (JOB, "type: uri_file\n    path: data.txt", "type: uri_file\n    path: code"),
        (JOB, "path: code"),
        "expected a file (uri_file), found the folder code; name a file in it",
        True,
    ),
    "a file for a folder": (
        (JOB, "type: uri_file\n    path: data.txt", "type: uri_folder\n    path: data.txt"),
        (JOB, "path: data.txt"),
        "expected a folder (uri_folder), found the file data.txt; write `type: uri_file`",
        True,
    ),
    "a step's output within a text": (
        (JOB, "flag: ${{parent.inputs.flag}}", "flag: x-${{parent.jobs.count.outputs.counted}}"),
        (JOB, "flag: x-"),
        "input 'flag' of step 'show': expected a plain value within a text, found data, ${{parent.jobs.count.",
        True,
    ),
    "data within a text": (
        (JOB, "flag: ${{parent.inputs.flag}}", "flag: ${{parent.inputs.data}}/f.txt"),
        (JOB, "/f.txt"),
        "input 'flag' of step 'show': expected a plain value within a text, found data, ${{parent.inputs.data}}; bind it",
        True,
    ),
    "data in the cloud": (
        (JOB, "path: data.txt", "path: azureml:rows:3"),
        (JOB, "azureml:rows:3"),
        "or a path of this machine, found azureml:rows:3; give one with --set inputs.data.path=PATH",
        True,
    ),
    "a model path that is not there": (
        (JOB, "type: uri_file\n    path: data.txt", "type: mlflow_model\n    path: models/mine"),
        (JOB, "models/mine"),
        "expected mlflow_model at models/mine, found nothing there; give --set inputs.data.path=PATH",
        True,
    ),
    "another version of our own model": (
        (JOB, "type: uri_file\n    path: data.txt", "type: mlflow_model\n    path: azureml:bert-base-cased:3"),
        (JOB, "bert-base-cased:3"),
        "expected the model azureml:bert-base-cased:17 of this checkout or a path of this machine, found "
        "azureml:bert-base-cased:3",
        True,
    ),
    "a missing code folder": (
        (COUNT, "code: ../code", "code: ../cod"),
        (COUNT, "../cod"),
        "expected a folder of code, found none at ../cod; name one that is there",
        False,
    ),
    "a missing environment file": (
        (SHOW, "environment/dev/", "environment/evaluation/"),
        (SHOW, "environment/evaluation/"),
        "expected an environment's file, found none at ../environment/evaluation/environment.yaml; write",
        False,
    ),
    "an environment without file:": (
        (SHOW, "file:../environment", "../environment"),
        (SHOW, "environment: ../environment"),
        "expected an environment of this checkout, found '../environment/dev/environment.yaml'; "
        "write `environment: file:…/environment/NAME/environment.yaml`",
        False,
    ),
    "an optional input outside its group": (
        (COUNT, "$[[--share ${{inputs.share}}]]", "--share ${{inputs.share}}"),
        (COUNT, "command: >-"),
        "the optional input 'share' is named outside $[[ ]]; write $[[… ${{inputs.share}}]]",
        True,
    ),
    "a missing component file": (
        (JOB, "components/count.yml", "components/cuont.yml"),
        (JOB, "cuont.yml"),
        "expected a component's file, found none at ./components/cuont.yml",
        False,
    ),
    "an input of a misspelled type": (
        (JOB, "type: uri_file\n    path: data.txt", "type: uri_foldr\n    path: data.txt"),
        (JOB, "uri_foldr"),
        "the type of input 'data': expected one of boolean, custom_model, integer, mlflow_model, mltable, number, path, "
        "string, triton_model, uri_file, uri_folder, found 'uri_foldr'; write uri_folder",
        False,
    ),
    "a misspelled key of the job": (
        (JOB, "display_name", "displayname"),
        (JOB, "displayname"),
        "the Azure SDK refuses it: displayname: Unknown field.",
        False,
    ),
    "another kind of step": (
        (
            JOB,
            "type: command\n    component: ./components/count.yml",
            "type: spark\n    component: ./components/count.yml",
        ),
        (JOB, "type: spark"),
        "expected `type: command` or `type: pipeline` in step 'count', found 'spark'; only commands and pipeline components",
        False,
    ),
    "another kind of job": (
        (JOB, "type: pipeline", "type: command"),
        (JOB, "type: command\ndisplay"),
        "expected `type: pipeline`, found 'command'; write the command as a step of one",
        False,
    ),
    "what is no YAML": (
        (JOB, "mode: lines", "mode: [lines"),
        (JOB, "flag: /nowhere"),
        "expected YAML, found: ",
        False,
    ),
}


def sdk_passes(path: Path) -> bool:
    from azure.ai.ml import load_job

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            return load_job(str(path))._validate().passed
        except Exception:
            return False


def findings(path: Path, *settings: str) -> list[str]:
    try:
        checked_job(path, settings, OwnModel.read())
    except InvalidFileError as exc:
        return [str(finding) for finding in exc.findings]
    return []


def test_the_job_as_it_is_passes(asset: Asset) -> None:
    assert sdk_passes(asset.job)
    assert findings(asset.job) == []


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_said_with_file_and_line(asset: Asset, name: str) -> None:
    edit, (file, mark), message, passes_sdk = BROKEN[name]
    asset.edit(*edit)
    text = (asset.folder / file).read_text(encoding="utf-8")
    assert text.count(mark) == 1
    line = text[: text.index(mark)].count("\n") + 1
    found = findings(asset.job)
    assert [one for one in found if one.startswith(f"{file}:{line}: ") and message in one], found
    assert sdk_passes(asset.job) is passes_sdk


def test_a_mistake_in_a_component_that_two_steps_share_is_found_once(asset: Asset) -> None:
    asset.edit(COUNT, "default: lines", "default: letters")
    again = "  again:\n    type: command\n    component: ./components/count.yml\n    inputs:\n      data: ${{parent.inputs.data}}\n"
    asset.job.write_text(asset.job.read_text(encoding="utf-8") + again, encoding="utf-8")
    assert len([one for one in findings(asset.job) if "the default of input 'mode'" in one]) == 1


def test_several_mistakes_are_found_at_once(asset: Asset) -> None:
    asset.edit(JOB, "path: data.txt", "path: dat.txt")
    asset.edit(JOB, "mode: lines", "mode: letters")
    assert len(findings(asset.job)) == 2


def test_a_boolean_where_texts_are_expected_is_to_be_quoted(asset: Asset) -> None:
    asset.edit(COUNT, "enum: [lines, words]", "enum: [lines, 'true']")
    asset.edit(JOB, "mode: lines", "mode: true")
    line = asset.line(JOB, "mode: true")
    expected = f"{JOB}:{line}: input 'mode' of step 'count' (the job's 'mode'): expected one of lines, true, found True; quote it"
    assert findings(asset.job) == [expected]


def test_the_command_line_shows_findings_and_runs_nothing(asset: Asset) -> None:
    asset.edit(JOB, "path: data.txt", "path: dat.txt")
    result = asset.run()
    assert result.exit_code == 2
    assert f"{JOB}:{asset.line(JOB, 'dat.txt')}: expected uri_file at dat.txt" in result.stderr
    assert not (asset.state / "runs").exists()


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "job.yml"
    path.symlink_to(path)
    with pytest.raises(InvalidFileError, match="its links lead in a circle; name a file"):
        read_job(path)
