"""The asset's specification carries every fact of the card, and Microsoft's own tools accept it."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.ai.ml import load_model
from typer.testing import CliRunner, Result

from asset.checks.validate.collect import validate
from asset.cli.main import app
from asset.tools.sku_lists import SCENARIOS

ROOT = Path(__file__).resolve().parents[2]
ASSET_FILES = ("asset.yaml", "model.yaml", "spec.yaml", "sku_lists.yaml", "description.md")


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    """Return spec.yaml as plain data."""
    return yaml.safe_load((ROOT / "spec.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def asset_copy(tmp_path: Path) -> Path:
    """Copy what the registry tooling reads, without weights: the validator can rewrite spec.yaml."""
    folder = tmp_path / "asset"
    (folder / "model/bert-base-cased").mkdir(parents=True)
    for name in ASSET_FILES:
        shutil.copy(ROOT / name, folder / name)
    return folder


def test_spec_names_the_model_and_its_pinned_commit(spec: dict[str, Any]) -> None:
    assert (spec["name"], spec["type"]) == ("bert-base-cased", "mlflow_model")
    # The public card this asset starts from is version 17, and a registry wants whole numbers.
    assert type(spec["version"]) is int
    assert spec["version"] >= 17
    assert spec["properties"]["SHA"] == "5532cc56f74641d4bb33641f5c76a55d11f846e0"
    assert spec["tags"]["task"] == "fill-mask"
    assert spec["tags"]["license"] == "apache-2.0"
    lengths = [len(spec["system_metadata"]["supportedComputes"][f"{name}Computes"]) for name in SCENARIOS]
    assert lengths == [49, 44, 17]


def test_spec_carries_the_cards_sku_lists(spec: dict[str, Any], facts: dict[str, Any]) -> None:
    metadata, tags, properties = spec["system_metadata"], spec["tags"], spec["properties"]
    for name in SCENARIOS:
        listed, minimum = facts[f"{name}_compute_allow_list"], facts[f"{name}_min_sku_spec"]
        assert metadata["supportedComputes"][f"{name}Computes"] == listed
        assert metadata["SKU"][f"{name}RecommendedSkus"] == listed
        assert metadata["SKU"][f"{name}MinSkuSpec"] == minimum
        assert json.loads(tags[f"{name}_compute_allow_list"]) == listed
        assert properties[f"{name}-recommended-sku"].split(", ") == listed
        assert properties[f"{name}-min-sku-spec"] == minimum


def test_spec_carries_the_cards_other_facts(spec: dict[str, Any], facts: dict[str, Any]) -> None:
    metadata, tags = spec["system_metadata"], spec["tags"]
    on_the_card = facts["tags_on_the_card"]
    assert (spec["name"], spec["properties"]["SHA"]) == (facts["name"], facts["SHA"])
    assert metadata["license"] == facts["license"]
    assert metadata["languages"] == facts["languages"]
    assert metadata["datasets"] == facts["datasets"]
    assert metadata["huggingFaceModelId"] == facts["huggingface_model_id"]
    assert metadata["tasks"] == {
        "inferenceTasks": [on_the_card["task"]],
        "fineTuningTasks": facts["finetuning_tasks"],
    }
    assert metadata["modelSpecificDefaults"] == on_the_card["model_specific_defaults"]
    for name in ("SharedComputeCapacityEnabled", "hiddenlayerscanned"):
        assert tags[name] == str(on_the_card[name]).lower()


def test_structured_tags_read_the_way_microsofts_notebooks_read_them(spec: dict[str, Any]) -> None:
    tags, metadata = spec["tags"], spec["system_metadata"]
    assert ast.literal_eval(tags["model_specific_defaults"]) == metadata["modelSpecificDefaults"]
    for name in SCENARIOS:
        computes = ast.literal_eval(tags[f"{name}_compute_allow_list"])
        assert computes == metadata["supportedComputes"][f"{name}Computes"]


def test_load_model_keeps_tags_and_properties(spec: dict[str, Any], asset_copy: Path) -> None:
    model = load_model(asset_copy / "spec.yaml")
    assert (model.name, model.version, model.type) == ("bert-base-cased", "17", "mlflow_model")
    assert Path(model.path) == asset_copy / "model/bert-base-cased"
    # What the SDK would send: nothing in it may have been rewritten on the way.
    sent = model._to_rest_object().properties
    assert sent.tags == spec["tags"]
    assert {key: sent.properties[key] for key in spec["properties"]} == spec["properties"]


def test_our_rules_and_microsofts_validator_find_nothing(asset_copy: Path) -> None:
    report = validate([asset_copy])
    assert [str(finding) for finding in report.findings] == []
    assert {path.name for path in report.files} == set(ASSET_FILES)
    assert (asset_copy / "spec.yaml").read_bytes() == (ROOT / "spec.yaml").read_bytes()


def test_microsofts_validator_is_run_with_its_minimum_sku_rule_and_without_a_subscription(asset_copy: Path) -> None:
    spec = asset_copy / "spec.yaml"
    spec.write_text(spec.read_text(encoding="utf-8").replace("2|0|8|28", "4|0|8|28"), encoding="utf-8")
    before = spec.read_bytes()
    found = [str(finding) for finding in validate([asset_copy / "asset.yaml"]).findings]
    assert len(found) == 1
    assert "Microsoft's validator refuses it: for inference-min-sku-spec => 4|0|8|28 != 2|0|8|28" in found[0]
    assert spec.read_bytes() == before


def sku_lists(*options: str) -> Result:
    return CliRunner().invoke(app, ["tools", "sku-lists", *options])


def test_rendering_the_committed_lists_changes_nothing(asset_copy: Path) -> None:
    assert sku_lists("--check").exit_code == 0
    assert "agrees" in sku_lists("--folder", str(asset_copy)).stdout
    assert (asset_copy / "spec.yaml").read_bytes() == (ROOT / "spec.yaml").read_bytes()


def test_a_changed_list_fails_the_check_until_rendered(asset_copy: Path) -> None:
    lists = asset_copy / "sku_lists.yaml"
    text = lists.read_text(encoding="utf-8")
    lists.write_text(text.replace("  - Standard_D4a_v4\n", "", 1), encoding="utf-8")
    checked = sku_lists("--folder", str(asset_copy), "--check")
    assert checked.exit_code == 1
    message = checked.stderr
    assert "tags.inference_compute_allow_list: not in sku_lists.yaml: Standard_D4a_v4" in message
    assert "run `asset tools sku-lists`" in message

    before = (asset_copy / "spec.yaml").read_text(encoding="utf-8")
    assert sku_lists("--folder", str(asset_copy)).exit_code == 0
    after = (asset_copy / "spec.yaml").read_text(encoding="utf-8")
    assert "Standard_D4a_v4" not in yaml.safe_load(after)["tags"]["inference_compute_allow_list"]
    assert re.findall(r"(?m)^ *#.*", after) == re.findall(r"(?m)^ *#.*", before)
    assert sku_lists("--folder", str(asset_copy), "--check").exit_code == 0


def test_a_changed_spec_fails_the_check_until_rendered(asset_copy: Path) -> None:
    spec = asset_copy / "spec.yaml"
    text = spec.read_text(encoding="utf-8")
    spec.write_text(text.replace("    - Standard_NV12s_v3\n", "", 1), encoding="utf-8")
    checked = sku_lists("--folder", str(asset_copy), "--check")
    assert checked.exit_code == 1
    message = checked.stderr
    assert "system_metadata.SKU.finetuneRecommendedSkus: missing Standard_NV12s_v3" in message
    assert sku_lists("--folder", str(asset_copy)).exit_code == 0
    assert spec.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("sku_lists.yaml", 'minimum: "4|1|28|64"', 'minimum: "4|1|28|56"', "expected 4|1|28|64"),
        ("sku_lists.yaml", 'minimum: "4|1|28|64"', "minimum: 4 cores", "vCPU|GPU|memory GB|disk GB"),
        ("sku_lists.yaml", "recommended: *finetune", "recommended: [Standard_X]", "same set as allow_list"),
        ("sku_lists.yaml", "recommended: *finetune", "recommended: all", "expected a list of machines"),
        (
            "sku_lists.yaml",
            "  - Standard_D4a_v4\n",
            "  - Standard_DS3_v2\n",
            "found ['Standard_DS3_v2'] twice",
        ),
        ("sku_lists.yaml", '  Standard_DS3_v2: "4|0|14|28"\n', "", "found none for ['Standard_DS3_v2']"),
        ("sku_lists.yaml", "finetune:\n", "training:\n", "found none for ['finetune']"),
        ("sku_lists.yaml", "inference:\n", "inference: ]\n", "expected YAML"),
        ("spec.yaml", "  # <<< tags\n", "", "found 0; restore its two marker lines"),
        ("spec.yaml", "  # <<< tags\n", "  # <<< tags\n  task: x\n", "['task'] twice"),
    ],
)
def test_an_unusable_file_is_named_and_left_alone(
    asset_copy: Path, file: str, old: str, new: str, message: str
) -> None:
    path = asset_copy / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    before = (asset_copy / "spec.yaml").read_bytes()
    rendered = sku_lists("--folder", str(asset_copy))
    assert rendered.exit_code == 1
    error = rendered.stderr
    assert error.startswith(file)
    assert message in error
    assert (asset_copy / "spec.yaml").read_bytes() == before


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    rendered = sku_lists("--folder", str(tmp_path))
    assert rendered.exit_code == 2
    assert "spec.yaml" in rendered.stderr
