"""A step that is a pipeline component runs as its own steps, with what it gives them and what they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asset.checks.pipeline.data import OwnModel
from asset.checks.pipeline.job import checked_job
from asset.local.jobs.plan import Plan, Step, StepOutput, plan_job

if TYPE_CHECKING:
    from tests.asset.local.jobs.conftest import Asset

TUNE = "components/tune.yml"


def plan(asset: Asset, *settings: str) -> Plan:
    own = OwnModel.read()
    return plan_job(*checked_job(asset.job, settings, own), own)


def step(asset: Asset, name: str, *settings: str) -> Step:
    return next(one for one in plan(asset, *settings).steps if one.name == name)


def test_its_steps_run_in_order_before_what_takes_its_outputs(pipeline: Asset) -> None:
    result = pipeline.run()
    assert result.exit_code == 0, result.output
    state = pipeline.last_state
    assert list(state.steps) == ["tuned.prepare", "tuned.train", "tuned.pack", "look"]
    assert {one.status for one in state.steps.values()} == {"finished"}
    shown = (pipeline.last.path / "outputs/shown").read_text(encoding="utf-8")
    assert shown == "rank 0\nrank 1\nmade by us, \n"
    assert (pipeline.last.path / "look/outputs/seen").read_text(encoding="utf-8") == "rank 0\nrank 1\nseen\n"
    assert (pipeline.last.path / "tuned.train/outputs/trained/checkpoint-1").read_text(encoding="utf-8") == (
        "1 of 2 for us\n"
    )
    assert "tuned.train[1] | found: " in result.stdout


def test_inputs_come_from_the_step_from_defaults_or_fall_away(pipeline: Asset) -> None:
    assert pipeline.run().exit_code == 0
    prepared = (pipeline.last.path / "tuned.prepare/outputs/prepared/rows.txt").read_text(encoding="utf-8")
    assert prepared == f"arguments: --data {pipeline.folder}/data.txt --rate 1e-8\n"


def test_what_is_set_reaches_its_steps(pipeline: Asset) -> None:
    (pipeline.folder / "base").mkdir()
    (pipeline.folder / "other.txt").write_text("x\n", encoding="utf-8")
    settings = (
        "inputs.data.path=other.txt",
        "jobs.tuned.inputs.style=loud",
        "jobs.tuned.inputs.base.path=base",
        "jobs.tuned.inputs.gpus=3",
        "jobs.tuned.inputs.rate=2e-5",
    )
    prepare = step(pipeline, "tuned.prepare", *settings)
    folder = pipeline.folder
    expected = {"data": folder / "other.txt", "base": folder / "base", "style": "loud", "rate": "2e-05"}
    assert prepare.inputs == expected
    assert step(pipeline, "tuned.train", *settings).processes == 3
    assert step(pipeline, "tuned.pack", *settings).inputs["label"] == "made by us, loud"


def test_an_empty_input_of_the_job_leaves_the_component_its_default(pipeline: Asset) -> None:
    pipeline.edit("job.yml", "      owner: us\n", "      owner: us\n      gpus: ${{parent.inputs.gpus}}\n")
    pipeline.edit("job.yml", "  flag: /nowhere\n", "  flag: /nowhere\n  gpus: ''\n")
    assert step(pipeline, "tuned.train").processes == 2


def test_a_step_may_leave_its_type_out(pipeline: Asset) -> None:
    pipeline.edit("job.yml", "    type: pipeline\n    component", "    component")
    assert [one.name for one in plan(pipeline).steps] == ["tuned.prepare", "tuned.train", "tuned.pack", "look"]


def test_the_limit_of_a_step_may_be_bound(pipeline: Asset) -> None:
    pipeline.edit(
        TUNE,
        "    environment_variables:",
        "    limits: {timeout: '${{parent.inputs.limit}}'}\n    environment_variables:",
    )
    pipeline.edit(
        TUNE, "  owner:\n    type: string\n", "  owner:\n    type: string\n  limit: {type: integer, optional: true}\n"
    )
    assert step(pipeline, "tuned.train").timeout is None
    assert step(pipeline, "tuned.train", "jobs.tuned.inputs.limit=60").timeout == 60


def test_outputs_lead_to_the_steps_that_write_them(pipeline: Asset) -> None:
    assert plan(pipeline).outputs == {"shown": StepOutput("tuned.pack", "packed")}
    assert step(pipeline, "look").inputs == {"model": StepOutput("tuned.train", "trained")}
    assert step(pipeline, "tuned.train").inputs["prepared"] == StepOutput("tuned.prepare", "prepared")


def test_a_pipeline_component_may_stand_in_another(pipeline: Asset) -> None:
    outer = """\
type: pipeline
name: outer
version: "1"
inputs:
  data: {type: uri_file, optional: true}
  owner: {type: string}
outputs:
  result: {type: uri_file, mode: rw_mount}
jobs:
  inside:
    type: pipeline
    component: ./tune.yml
    inputs:
      data: ${{parent.inputs.data}}
      owner: big ${{parent.inputs.owner}}
      gpus: 1
    outputs:
      packed: ${{parent.outputs.result}}
"""
    (pipeline.folder / "components/outer.yml").write_text(outer, encoding="utf-8")
    pipeline.edit("job.yml", "component: ./components/tune.yml", "component: ./components/outer.yml")
    pipeline.edit("job.yml", "      flag: ${{parent.inputs.flag}}\n", "")
    pipeline.edit("job.yml", "packed: ${{parent.outputs.shown}}", "result: ${{parent.outputs.shown}}")
    pipeline.edit("job.yml", "parent.jobs.tuned.outputs.model", "parent.jobs.tuned.outputs.result")
    pipeline.edit("job.yml", "'${{inputs.model}}'/rank-*", "'${{inputs.model}}'")
    result = pipeline.run()
    assert result.exit_code == 0, result.output
    assert list(pipeline.last_state.steps)[0] == "tuned.inside.prepare"
    seen = (pipeline.last.path / "look/outputs/seen").read_text(encoding="utf-8")
    assert seen == "rank 0\nmade by big us, \nseen\n"
    assert step(pipeline, "tuned.inside.pack").mounted == ("packed",)


def test_the_mode_of_an_output_is_the_components_or_the_steps(pipeline: Asset) -> None:
    assert step(pipeline, "tuned.train").mounted == ("trained",)
    assert step(pipeline, "look").mounted == ()
    pipeline.edit("job.yml", "  shown:\n    type: uri_file", "  shown:\n    type: uri_file\n    mode: rw_mount")
    assert step(pipeline, "tuned.pack").mounted == ("packed",)
    pipeline.edit(TUNE, "  model:\n    type: uri_folder", "  model:\n    type: uri_folder\n    mode: upload")
    assert step(pipeline, "tuned.train").mounted == ()
    pipeline.edit("job.yml", "seen:\n        type: uri_file", "seen:\n        type: uri_file\n        mode: rw_mount")
    assert step(pipeline, "look").mounted == ("seen",)


def test_two_uses_of_one_component_are_kept_apart(pipeline: Asset) -> None:
    again = "  again:\n    type: pipeline\n    component: ./components/tune.yml\n    inputs:\n      owner: them\n"
    pipeline.job.write_text(pipeline.job.read_text(encoding="utf-8") + again, encoding="utf-8")
    assert step(pipeline, "again.pack").inputs == {
        "label": "made by them, ",
        "trained": StepOutput("again.train", "trained"),
    }
    assert "data" not in step(pipeline, "again.prepare").inputs and "data" in step(pipeline, "tuned.prepare").inputs


@pytest.mark.parametrize("name", ["tuned.train", "tuned.prepare"])
def test_a_step_that_fails_is_named_in_full(pipeline: Asset, name: str) -> None:
    script = "train.sh" if name == "tuned.train" else "prepare.sh"
    (pipeline.folder / "code" / script).write_text("exit 3\n", encoding="utf-8")
    result = pipeline.run()
    assert result.exit_code == 1 and f"step '{name}' failed: its command ended with status 3" in result.stderr
    assert Path(pipeline.last_state.steps[name].log).parent.name == name
