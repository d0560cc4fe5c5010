"""A size of Azure's machines is held against the lists, the model and what is known of its processors."""

from __future__ import annotations

from pathlib import Path

import pytest

from asset.checks.doctor.check import Check
from asset.checks.doctor.cpu_generations import generation
from asset.checks.doctor.deployment import Lists, sku
from asset.checks.doctor.model import BERT_BASE, Size

ROOT = Path(__file__).resolve().parents[4]
BASE = Size.of(BERT_BASE)


def look(name: str, scenario: str | None = None, size: Size = BASE) -> dict[str, Check]:
    """Return what is found, by the last word of its name."""
    return {check.name.split()[-1]: check for check in sku(ROOT, name, size, scenario)}


def test_the_size_of_our_deployment_is_allowed_and_large_enough() -> None:
    found = look("standard_f4s_v2", "inference")
    assert [found[part].status for part in ("lists", "size", "cpu")] == ["ok", "ok", "note"]
    assert found["size"].found == "4 vCPU, 8 GB, 0 GPU"
    assert "measured" in found["size"].expected
    assert "Cascade Lake" in found["cpu"].found


def test_an_unknown_size_is_wrong_and_the_closest_is_named() -> None:
    (check,) = sku(ROOT, "Standard_F4_v2", BASE)
    assert check.status == "wrong"
    assert "Standard_F4s_v2" in check.fix
    (check,) = sku(ROOT, "Tiny", BASE)
    assert "choose one of sku_lists.yaml" in check.fix


def test_a_size_that_is_listed_for_something_else_is_wrong_for_a_deployment() -> None:
    assert look("Standard_DS12_v2", "inference")["lists"].status == "wrong"
    check = look("Standard_DS12_v2")["lists"]
    assert (check.status, "inference" in check.found) == ("note", False)
    assert look("Standard_DS12_v2", "evaluation")["lists"].status == "ok"


def test_a_model_that_needs_more_memory_is_told() -> None:
    large = Size(parameters=1_000_000_000)
    assert look("Standard_F4s_v2", size=large)["size"].status == "wrong"
    assert look("Standard_E16s_v3", size=large)["size"].status == "ok"


def test_a_gpu_that_would_not_be_used_is_a_note() -> None:
    check = look("Standard_NC4as_T4_v3")["size"]
    assert (check.status, "serving-gpu" in check.fix) == ("note", True)


@pytest.mark.parametrize(
    ("name", "fast"),
    [
        ("Standard_FX4mds", "all"),
        ("Standard_F4s_v2", "some"),
        ("Standard_DS3_v2", "some"),
        ("Standard_E4s_v3", "some"),
        ("Standard_D4as_v4", "none"),
        ("Standard_NC24ads_A100_v4", "none"),
        ("Standard_ND96amsr_A100_v4", "none"),
    ],
)
def test_processors_are_known_by_series(name: str, fast: str) -> None:
    series = generation(name)
    assert series is not None
    assert series.fast == fast
    assert look(name)["cpu"].status == ("ok" if fast == "all" else "note")


def test_a_processor_is_known_for_every_size_of_the_lists() -> None:
    assert [name for name in Lists.read(ROOT).sizes if generation(name) is None] == []
    assert generation("Standard_D4_v9") is None


def test_lists_that_cannot_be_read_are_wrong(tmp_path: Path) -> None:
    (check,) = sku(tmp_path, "Standard_F4s_v2", BASE)
    assert check.status == "wrong"
    (tmp_path / "sku_lists.yaml").write_text("inference: {}\n")
    (check,) = sku(tmp_path, "Standard_F4s_v2", BASE)
    assert "expected the mappings" in check.found
