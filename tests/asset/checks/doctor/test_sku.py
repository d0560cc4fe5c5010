"""A size of Azure's machines is checked against the lists and the model."""

from __future__ import annotations

from pathlib import Path

from asset.checks.doctor.deployment import sku
from asset.checks.doctor.model import BERT_BASE, Size
from asset.findings import Finding

ROOT = Path(__file__).resolve().parents[4]
BASE = Size.of(BERT_BASE)


def look(name: str, scenario: str | None = None, size: Size = BASE) -> dict[str, Finding]:
    """Return what is found, by the last word of its name."""
    return {check.rule.split()[-1]: check for check in sku(ROOT, name, size, scenario)}


def test_the_size_of_our_deployment_is_allowed_and_large_enough() -> None:
    found = look("standard_f4s_v2", "inference")
    assert {part: finding.severity for part, finding in found.items()} == {"lists": "ok", "size": "ok"}
    assert found["size"].message == "4 vCPU, 8 GB, 0 GPU"


def test_an_unknown_size_is_wrong_and_the_closest_is_named() -> None:
    (check,) = sku(ROOT, "Standard_F4_v2", BASE)
    assert check.severity == "error"
    assert "Standard_F4s_v2" in check.fix
    (check,) = sku(ROOT, "Tiny", BASE)
    assert "choose one of sku_lists.yaml" in check.fix


def test_a_size_that_is_listed_for_something_else_is_wrong_for_a_deployment() -> None:
    assert look("Standard_DS12_v2", "inference")["lists"].severity == "error"
    check = look("Standard_DS12_v2")["lists"]
    assert (check.severity, "inference" in check.message) == ("note", False)
    assert look("Standard_DS12_v2", "evaluation")["lists"].severity == "ok"


def test_a_model_that_needs_more_memory_is_told() -> None:
    large = Size(parameters=1_000_000_000)
    check = look("Standard_F4s_v2", size=large)["size"]
    assert (check.severity, "(measured)" in check.message) == ("error", True)
    assert look("Standard_E16s_v3", size=large)["size"].severity == "ok"


def test_a_gpu_that_would_not_be_used_is_a_note() -> None:
    check = look("Standard_NC4as_T4_v3")["size"]
    assert (check.severity, "serving-gpu" in check.fix) == ("note", True)


def test_lists_that_cannot_be_read_are_wrong(tmp_path: Path) -> None:
    (check,) = sku(tmp_path, "Standard_F4s_v2", BASE)
    assert check.severity == "error"
    (tmp_path / "sku_lists.yaml").write_text("inference: {}\n")
    (check,) = sku(tmp_path, "Standard_F4s_v2", BASE)
    assert "expected the mappings" in check.message
