"""What is wrong in a pipeline component, or in what it is given, is said with its own file, its line and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.asset.local.jobs.test_checks import findings, sdk_passes

if TYPE_CHECKING:
    from tests.asset.local.jobs.conftest import Asset

JOB, TUNE, PREPARE, TRAIN = "job.yml", "components/tune.yml", "components/prepare.yml", "components/train.yml"

# What is changed in which file; the text that stands on the line that is named, of the same file unless another is
# given; what is said; and whether the Azure SDK lets it through.
BROKEN = {
    "an input that the component does not have": (
        (JOB, "owner: us", "owner: us\n      stile: loud"),
        (JOB, "stile"),
        "step 'tuned' has no input 'stile'; expected one of compute_tune, instance_type, shm_size, nodes, gpus, data, "
        "table, base, style, rate, flag, owner; rename it to style",
        True,
    ),
    "an output that the component does not have": (
        (JOB, "packed: ${{parent.outputs.shown}}", "paked: ${{parent.outputs.shown}}"),
        (JOB, "paked"),
        "step 'tuned' has no output 'paked'; expected one of model, packed; rename it to packed",
        True,
    ),
    "a binding to an output that the component does not have": (
        (JOB, "tuned.outputs.model", "tuned.outputs.modl"),
        (JOB, "tuned.outputs.modl"),
        "step 'tuned' has no output 'modl'; expected one of model, packed; rename it to model",
        False,
    ),
    "a binding into a pipeline component": (
        (JOB, "parent.jobs.tuned.outputs.model", "parent.jobs.tuned.train.outputs.trained"),
        (JOB, "tuned.train"),
        "expected ${{parent.inputs.NAME}} or ${{parent.jobs.STEP.outputs.NAME}}, found ${{parent.jobs.tuned.train.",
        False,
    ),
    "a required input that is not given": (
        (JOB, "      owner: us\n", ""),
        (JOB, "inputs:\n      data"),
        "step 'tuned' gets no 'owner', which its component requires; add `owner: …` to its inputs",
        False,
    ),
    "a value outside the component's enum": (
        (JOB, "owner: us", "owner: us\n      style: laud"),
        (JOB, "style: laud"),
        "input 'style' of step 'tuned': expected one of plain, loud, shy, found 'laud'; choose one of those",
        True,
    ),
    "a value outside the enum of an inner step": (
        (JOB, "owner: us", "owner: us\n      style: shy"),
        (JOB, "style: shy"),
        "input 'style' of step 'tuned.prepare' ('style' of step 'tuned'): expected one of plain, loud, found 'shy'",
        True,
    ),
    "a default outside the enum of an inner step": (
        (TUNE, "enum: [plain, loud, shy]\n", "enum: [plain, loud, shy]\n    default: shy\n"),
        (TUNE, "default: shy"),
        "input 'style' of step 'tuned.prepare' (the default of 'style'): expected one of plain, loud, found 'shy'",
        True,
    ),
    "a value of another type": (
        (JOB, "owner: us", "owner: us\n      gpus: two"),
        (JOB, "gpus: two"),
        "input 'gpus' of step 'tuned': expected a whole number, found 'two'; correct it",
        True,
    ),
    "a plain value for data": (
        (JOB, "owner: us", "owner: us\n      base: folder"),
        (JOB, "base: folder"),
        "input 'base' of step 'tuned': expected data (custom_model), found 'folder'; write {type: custom_model, path: …}",
        True,
    ),
    "a default of another type": (
        (TUNE, "default: 1e-8", "default: small"),
        (TUNE, "default: small"),
        "the default of input 'rate': expected a number, found 'small'; correct it",
        False,
    ),
    "data that is not there": (
        (JOB, "owner: us", "owner: us\n      base: {type: custom_model, path: bse}"),
        (JOB, "path: bse"),
        "expected custom_model at bse, found nothing there; give --set jobs.tuned.inputs.base.path=PATH",
        True,
    ),
    "data in the component that is not there": (
        (TUNE, "base: ${{parent.inputs.base}}", "base: {type: custom_model, path: bse}"),
        (TUNE, "path: bse"),
        "expected custom_model at bse, found nothing there; give another",
        True,
    ),
    "an unknown key in the component": (
        (TUNE, "name: tune\n", "name: tune\ncode: .\n"),
        (TUNE, "code: ."),
        "the component has an unknown key 'code'; expected one of ",
        True,
    ),
    "an unknown key in one of its inputs": (
        (TUNE, "optional: true\n    default: 5g", "optionl: true\n    default: 5g"),
        (TUNE, "optionl"),
        "input 'shm_size' has an unknown key 'optionl'; ",
        False,
    ),
    "an unknown key in its step": (
        (TUNE, "    compute: ${{", "    computee: ${{"),
        (TUNE, "computee"),
        "step 'train' has an unknown key 'computee'; ",
        True,
    ),
    "a key of commands at the step that is a pipeline": (
        (JOB, "    type: pipeline\n", "    type: pipeline\n    resources: {instance_count: 1}\n"),
        (JOB, "resources"),
        "step 'tuned' has an unknown key 'resources'; expected one of ",
        True,
    ),
    "a misspelled input of an inner step": (
        (TUNE, "      style: ${{", "      stile: ${{"),
        (TUNE, "stile"),
        "step 'prepare' has no input 'stile'; expected one of data, table, base, style, rate; rename it to style",
        True,
    ),
    "a binding to an input that the component does not have": (
        (TUNE, "${{parent.inputs.table}}", "${{parent.inputs.tabel}}"),
        (TUNE, "inputs.tabel"),
        "input 'table' of step 'prepare': ${{parent.inputs.tabel}}: the pipeline component has no input 'tabel'; ",
        True,
    ),
    "a binding to a step that the component does not have": (
        (TUNE, "parent.jobs.prepare.outputs", "parent.jobs.look.outputs"),
        (TUNE, "jobs.look"),
        "the pipeline component has no step 'look'; expected one of pack, train, prepare",
        True,
    ),
    "a binding to an output that the component does not declare": (
        (TUNE, "packed: ${{parent.outputs.packed}}", "packed: ${{parent.outputs.pack}}"),
        (TUNE, "outputs.pack}}"),
        "${{parent.outputs.pack}}: the pipeline component has no output 'pack'; expected one of model, packed; rename",
        True,
    ),
    "an output that none of its steps writes": (
        (TUNE, "    outputs:\n      trained: ${{parent.outputs.model}}\n", ""),
        (TUNE, "  model:\n    type"),
        "expected one step that writes the pipeline component's output 'model', found none",
        True,
    ),
    "its steps in a circle": (
        (TUNE, "data: ${{parent.inputs.data}}", "data: ${{parent.jobs.pack.outputs.packed}}"),
        (TUNE, "  pack:\n"),
        "expected steps in an order, found a circle: pack -> train -> prepare -> pack; cut it",
        True,
    ),
    "an optional input for a required one": (
        (PREPARE, "default: 1e-8\n    optional: true", "default: 1e-8"),
        (TUNE, "rate: ${{parent.inputs.rate}}"),
        "input 'rate' of step 'prepare' is required by its component, and ${{parent.inputs.rate}} is optional, which "
        "Azure refuses; write `optional: true` at both or at none",
        False,
    ),
    "data for a plain input of an inner step": (
        (TUNE, "style: ${{parent.inputs.style}}", "style: ${{parent.inputs.table}}"),
        (TUNE, "style: ${{parent.inputs.table}}"),
        "input 'style' of step 'prepare': expected a string, found data, ${{parent.inputs.table}}; bind another",
        True,
    ),
    "data within a text": (
        (TUNE, "by ${{parent.inputs.owner}}", "by ${{parent.inputs.data}}"),
        (TUNE, "by ${{parent.inputs.data}}"),
        "input 'label' of step 'pack': expected a plain value within a text, found data, ${{parent.inputs.data}}",
        True,
    ),
    "a count that is bound to nothing": (
        (TUNE, "${{parent.inputs.gpus}}", "${{parent.inputs.gpu}}"),
        (TUNE, "parent.inputs.gpu}}"),
        "'distribution.process_count_per_instance' of step 'train': ${{parent.inputs.gpu}}: the pipeline component has no "
        "input 'gpu'; ",
        True,
    ),
    "a compute that is bound to nothing": (
        (TUNE, "${{parent.inputs.compute_tune}}", "${{parent.inputs.compute}}"),
        (TUNE, "parent.inputs.compute}}"),
        "'compute' of step 'train': ${{parent.inputs.compute}}: the pipeline component has no input 'compute'; ",
        True,
    ),
    "an instance type that is bound to an output": (
        (TUNE, "${{parent.inputs.instance_type}}", "${{parent.jobs.prepare.outputs.prepared}}"),
        (TUNE, "instance_type: '${{parent.jobs"),
        "'resources.instance_type' of step 'train': expected ${{parent.inputs.NAME}}, found ${{parent.jobs.prepare.",
        True,
    ),
    "an environment variable that is bound to nothing": (
        (TUNE, "OWNER: ${{parent.inputs.owner}}", "OWNER: ${{parent.inputs.ovner}}"),
        (TUNE, "ovner"),
        "'environment_variables.OWNER' of step 'train': ${{parent.inputs.ovner}}: the pipeline component has no input",
        True,
    ),
    "an inner component's file that is missing": (
        (TUNE, "./pack.yml", "./pakc.yml"),
        (TUNE, "pakc.yml"),
        "expected a component's file, found none at ./pakc.yml",
        False,
    ),
    "a component in itself": (
        (TUNE, "type: command\n    component: ./pack.yml", "type: pipeline\n    component: ./tune.yml"),
        (TUNE, "component: ./tune.yml"),
        "expected a component without itself in it, found ./tune.yml in itself; cut the circle",
        False,
    ),
    "a step of another type than its component": (
        (JOB, "    type: pipeline\n    component", "    type: command\n    component"),
        (JOB, "component: ./components/tune.yml"),
        "expected a component of `type: command`, found one of `type: pipeline`; write that at the step",
        False,
    ),
    "a component without steps": (
        (TUNE, "jobs:\n", "job:\n"),
        (TUNE, "$schema"),
        "expected steps under `jobs`, found none; write one",
        True,
    ),
    "a mistake of an inner component": (
        (TRAIN, "code: ../code", "code: ../cod"),
        (TRAIN, "../cod"),
        "expected a folder of code, found none at ../cod; name one that is there",
        False,
    ),
    "an output of a misspelled type": (
        (TUNE, "  model:\n    type: uri_folder", "  model:\n    type: uri_foldr"),
        (TUNE, "uri_foldr"),
        "the type of output 'model': expected one of boolean, custom_model,",
        False,
    ),
    "what the SDK refuses of the component": (
        (TUNE, "name: tune\n", "name: Tune It\n"),
        (TUNE, "Tune It"),
        "the Azure SDK refuses it: name: Component name should only contain lower letter",
        True,
    ),
    "what the SDK refuses of an inner step": (
        (TUNE, "      type: pytorch\n", "      type: pytroch\n"),
        (TUNE, "    distribution:\n"),
        "the Azure SDK refuses it: jobs.train.distribution",
        False,
    ),
}


def test_the_job_as_it_is_passes(pipeline: Asset) -> None:
    assert sdk_passes(pipeline.job)
    assert findings(pipeline.job) == []


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_said_with_file_and_line(pipeline: Asset, name: str) -> None:
    edit, (file, mark), message, passes_sdk = BROKEN[name]
    pipeline.edit(*edit)
    text = (pipeline.folder / file).read_text(encoding="utf-8")
    assert text.count(mark) == 1
    line = text[: text.index(mark)].count("\n") + 1
    found = findings(pipeline.job)
    assert [one for one in found if one.startswith(f"{file}:{line}: ") and message in one], found
    assert sdk_passes(pipeline.job) is passes_sdk


def test_a_value_that_does_not_suit_the_component_is_found_once(pipeline: Asset) -> None:
    pipeline.edit(JOB, "owner: us", "owner: us\n      style: laud")
    assert len(findings(pipeline.job)) == 1


def test_a_mistake_in_a_component_that_is_used_twice_is_found_once(pipeline: Asset) -> None:
    again = "  again:\n    type: pipeline\n    component: ./components/tune.yml\n    inputs:\n      owner: them\n"
    pipeline.job.write_text(pipeline.job.read_text(encoding="utf-8") + again, encoding="utf-8")
    pipeline.edit(TUNE, "${{parent.inputs.table}}", "${{parent.inputs.tabel}}")
    pipeline.edit(TUNE, "${{parent.inputs.gpus}}", "${{parent.inputs.gpu}}")
    assert len(findings(pipeline.job)) == 2


def test_a_pipeline_component_has_a_file_of_its_own(pipeline: Asset) -> None:
    text = "component: {type: pipeline, jobs: {a: {type: command}}}"
    pipeline.edit(JOB, "component: ./components/tune.yml", text)
    said = "expected a pipeline component in a file of its own, found one written into a step; move it to one"
    assert findings(pipeline.job) == [f"{JOB}:{pipeline.line(JOB, text)}: {said}"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "nodes",
            "2",
            "expected one instance for step 'tuned.train', found 2; this machine is one: set instance_count",
        ),
        ("gpus", "0", "input 'gpus' of step 'tuned': expected at least 1, found 0; correct it"),
    ],
)
def test_a_setting_that_does_not_suit_a_step_is_refused_by_its_name(
    pipeline: Asset, name: str, value: str, said: str
) -> None:
    result = pipeline.run("--set", f"jobs.tuned.inputs.{name}={value}")
    assert result.exit_code == 2
    assert f"--set jobs.tuned.inputs.{name}={value}: {said}" in result.stderr


def test_a_count_that_is_bound_to_a_text_is_refused(pipeline: Asset) -> None:
    pipeline.edit(TUNE, "${{parent.inputs.gpus}}", "${{parent.inputs.owner}}")
    said = "'distribution.process_count_per_instance' of step 'tuned.train': expected a whole number, found 'us'"
    result = pipeline.run()
    assert result.exit_code == 2 and f"{JOB}:{pipeline.line(JOB, 'owner: us')}: {said}" in result.stderr


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("jobs.tuned.inputs.stile=loud", "step 'tuned' has no input 'stile'; expected one of compute_tune, "),
        (
            "jobs.tuned.inputs.base=FOLDER",
            "'base' is data (custom_model); write --set jobs.tuned.inputs.base.path=PATH",
        ),
        (
            "jobs.tuned.inputs.style=laud",
            "input 'style' of step 'tuned': expected one of plain, loud, shy, found 'laud'",
        ),
        ("inputs.data.path=/none", "expected uri_file at /none, found nothing there; give --set inputs.data.path=PATH"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_known_ones(pipeline: Asset, setting: str, said: str) -> None:
    result = pipeline.run("--set", setting)
    assert result.exit_code == 2 and f"--set {setting}: {said}" in result.stderr
