"""The model card says what the card's facts say, and nothing in the asset's files is unfinished."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = (
    "spec.yaml",
    "sku_lists.yaml",
    "asset.yaml",
    "model.yaml",
    "description.md",
    "CHANGELOG.md",
    "NOTICE",
)


@pytest.fixture(scope="module")
def card() -> str:
    """Return the card with its line breaks taken out, so that a phrase is found where it wraps."""
    return re.sub(r"\s+", " ", (ROOT / "description.md").read_text(encoding="utf-8"))


def test_the_cards_sample_is_the_published_one() -> None:
    text = (ROOT / "description.md").read_text(encoding="utf-8")
    sent, answered = (json.loads(block) for block in re.findall(r"(?s)```json\n(.*?)```", text))
    assert sent == {"input_data": ["Paris is the [MASK] of France.", "Today is a [MASK] day!"]}
    assert answered == ["capital", "beautiful"]


def test_the_card_cites_the_paper_and_names_what_is_not_served(card: str) -> None:
    for phrase in (
        "Devlin, Jacob and Chang, Ming-Wei and Lee, Kenton and Toutanova, Kristina",
        "BERT}: Pre-training of Deep Bidirectional Transformers for Language Understanding",
        "1810.04805",
        "### What is not served - **Next-sentence prediction.**",
        "**Text generation.**",
        "predictions can be biased",
        "every model made from this one inherits it",
    ):
        assert phrase in card


def test_the_card_carries_the_published_results(card: str, facts: dict[str, Any]) -> None:
    scores = facts["glue_test_results"]
    assert "| " + " | ".join(scores) + " |" in card
    assert "| " + " | ".join(str(score) for score in scores.values()) + " |" in card


def test_the_card_carries_architecture_and_recipe(card: str, facts: dict[str, Any]) -> None:
    architecture, recipe = facts["architecture"], facts["pretraining"]
    for label, key in (
        ("Layers", "layers"),
        ("Hidden size", "hidden"),
        ("Attention heads", "heads"),
        ("Feed-forward size", "intermediate"),
        ("Longest input", "max_positions"),
        ("Parameters", "parameters"),
    ):
        assert f"| {label} | {architecture[key]}" in card
    assert f"| Vocabulary | {architecture['vocabulary']:,} WordPiece tokens, case-sensitive |" in card
    assert f"| Steps | {recipe['steps']:,} |" in card
    assert f"| Batch size | {recipe['batch_size']} " in card
    assert f"{recipe['masked_share']:.0%}".replace("%", " %") + " of the tokens" in card
    assert recipe["hardware"] in card
    for number in (
        "30,000",
        "28,996",
        "80 %",
        "10 %",
        "90 %",
        "1e-4",
        "0.9 and 0.999",
        "weight decay 0.01",
        "10,000",
    ):
        assert number in card


def test_the_card_names_commit_license_data_tasks_and_samples(card: str, facts: dict[str, Any]) -> None:
    named = [facts["SHA"], *facts["datasets"], *facts["finetuning_tasks"], "Apache-2.0"]
    named += facts["tags_on_the_card"]["model_specific_defaults"]
    for samples in facts["samples_named_on_the_card"].values():
        named += [sample.split(" ")[0] for sample in samples]
    assert [name for name in named if name not in card] == []


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_is_left_unfinished(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    # The words are put together here so that a search of the repository for them stays empty.
    assert re.findall("|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "lorem"]), text) == []


def test_license_is_the_full_text_with_a_holder() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert "the project's contributors" in text
    assert "[name of copyright owner]" not in text
