"""A file is checked for what it is, by its `$schema`, its name or its content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.asset.checks.validate.mistakes import BATCH, BATCH_ENDPOINT, BLUE, COMPONENT, ENDPOINT, JOB, PIPELINE

if TYPE_CHECKING:
    from tests.asset.checks.validate.conftest import SmallAsset

# A mistake of each kind that only its own check finds, in a file without its `$schema`.
KINDS = {
    ENDPOINT: ("blue: 90", "blue: 80", "traffic"),
    BLUE: ("instance_count: 1", "instance_count: 0", "instance-count"),
    BATCH_ENDPOINT: ("auth_mode: aad_token", "auth_mode: key", "auth-mode"),
    BATCH: ("mini_batch_size: 1", "mini_batch_size: 0", "batch-settings"),
    JOB: ("path: ./test_set", "path: ./test_sets", "data-path"),
    COMPONENT: ("code: ../..", "code: ../../src", "code-folder"),
    PIPELINE: ("outputs.pytorch_model_folder}}\n    outputs:", "outputs.folder}}\n    outputs:", "binding"),
    "environment/serving/environment.yaml": ("path: .\n", "path: ./image\n", "build-path"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_without_its_schema_is_known_by_its_content(small: SmallAsset, name: str) -> None:
    path = small.root / name
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("$schema")), encoding="utf-8")
    old, new, rule = KINDS[name]
    assert small.findings(name) == []
    small.edit(name, old, new)
    assert rule in [one.rule for one in small.findings(name)]


def test_a_kind_of_azures_without_rules_here_is_said_to_be_unchecked(small: SmallAsset) -> None:
    path = small.root / "compute.yml"
    path.write_text(
        "name: cpu-cluster\ntype: amlcompute\n$schema: https://azuremlschemas.azureedge.net/latest/amlCompute.schema.json\n",
        encoding="utf-8",
    )
    report = small.validate("compute.yml")
    assert report.findings == []
    [note] = report.notes
    assert (note.place.line, note.rule) == (3, "schema-unknown")
    assert "there are no rules here for Azure's amlCompute" in note.message


def test_yaml_of_nobodys_only_has_to_be_yaml(small: SmallAsset) -> None:
    path = small.root / "conda.yaml"
    path.write_text("channels: [conda-forge]\ndependencies: [python=3.11]\n", encoding="utf-8")
    assert small.validate("conda.yaml").findings == []
    path.write_text("channels: [conda-forge]\nchannels: []\n", encoding="utf-8")
    assert [one.rule for one in small.findings("conda.yaml")] == ["yaml-duplicate-key"]


def test_folders_of_tools_and_results_are_left_out_unless_they_are_named(small: SmallAsset) -> None:
    for folder in (".asset", "runs", ".venv", "__pycache__"):
        (small.root / folder).mkdir()
        (small.root / folder / "broken.yml").write_text("a: [", encoding="utf-8")
    assert small.findings() == []
    assert [one.place.where for one in small.findings("runs")] == ["runs/broken.yml"]


def test_a_file_outside_any_asset_is_held_to_this_one(small: SmallAsset) -> None:
    away = small.root.parent / "away.yml"
    text = (small.root / BLUE).read_text(encoding="utf-8")
    away.write_text(text.replace("Standard_DS3_v2", "Standard_X"), encoding="utf-8")
    rules = [one.rule for one in small.findings("../away.yml")]
    assert "sku" in rules
    assert "model-version" not in rules


def test_what_azure_may_run_and_this_machine_does_not_is_a_note(small: SmallAsset) -> None:
    small.edit(JOB, "azureml:bert-base-cased:17", "azureml:another-model:3")
    small.edit(
        COMPONENT,
        "environment: file:../../environment/evaluation/environment.yaml",
        "environment: azureml://registries/azureml/environments/model-evaluation/labels/latest",
    )
    report = small.validate(JOB)
    assert report.findings == []
    assert [(note.place.where, note.rule) for note in report.notes] == [
        (COMPONENT, "runs-elsewhere"),
        (JOB, "runs-elsewhere"),
    ]
    assert "Azure may run this, and `asset run` does not" in report.notes[0].message


def test_a_deployment_without_code_or_a_job_of_one_component_is_for_azure(small: SmallAsset) -> None:
    small.edit(BLUE, "code_configuration:\n  code: ..\n  scoring_script: score.py\n", "")
    small.edit(BLUE, "environment: file:../environment/serving/environment.yaml\n", "")
    report = small.validate(BLUE)
    assert (report.findings, [note.rule for note in report.notes]) == ([], ["no-code"])
    job = small.root / "evaluation/one.yml"
    schema = "$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json\n"
    job.write_text(f"{schema}type: pipeline\ncomponent: ../{PIPELINE}\n", encoding="utf-8")
    report = small.validate("evaluation/one.yml")
    assert [note.rule for note in report.notes] == ["runs-elsewhere"]
    assert any("Required input 'sentence1_key'" in one.message for one in report.findings)


def test_a_mistake_in_a_shared_component_is_told_of_once(small: SmallAsset) -> None:
    small.edit(COMPONENT, "code: ../..", "code: ../../src")
    assert [one.rule for one in small.findings()] == ["code-folder"]


def test_a_packaged_model_has_all_that_it_names(small: SmallAsset) -> None:
    folder = small.root / "model/embedded"
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}", encoding="utf-8")
    [finding] = small.findings("model/embedded/MLmodel")
    line = small.line("model/embedded/MLmodel", "components:")
    assert (finding.place.line, finding.rule, finding.fix) == (line, "mlmodel-file", "package the model again")
    assert "expected the folder components/tokenizer, found none" in finding.message
    (folder / "components/tokenizer").mkdir(parents=True)
    assert small.findings("model/embedded/MLmodel") == []
