"""The model folders are what they say: loadable by everyone who loads such folders, and small enough to commit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from safetensors import safe_open
from transformers import pipeline

from benchmarks.accuracy import evaluate
from finetune.pretrain.options import check_model

ROOT = Path(__file__).resolve().parents[1]
EMBEDDED = ROOT / "model" / "embedded"
CLOZE = ROOT.parent / "shared" / "data" / "wikitext2_cloze_validation.jsonl"
PARIS = "Paris is the [MASK] of France."


def test_the_embedded_model_is_fp16_safetensors_of_at_most_48_mb() -> None:
    files = [path for path in EMBEDDED.rglob("*") if path.is_file() and ".compiled" not in path.parts]
    assert sum(path.stat().st_size for path in files if not path.is_symlink()) < 48e6
    with safe_open(EMBEDDED / "model.safetensors", "numpy") as tensors:
        assert {str(tensors.get_tensor(name).dtype) for name in tensors.keys()} == {"float16"}  # noqa: SIM118


def test_the_embedded_model_says_that_it_is_not_bert_base_cased() -> None:
    name = json.loads((EMBEDDED / "config.json").read_text(encoding="utf-8"))["model_name"]
    card = (EMBEDDED / "README.md").read_text(encoding="utf-8")
    assert name.startswith("embedded-")
    assert f"# {name}\n" in card
    assert "It is not\nbert-base-cased" in card
    assert "@" not in card.replace("accuracy@", "")


def test_transformers_and_mlflow_load_the_embedded_model() -> None:
    assert pipeline("fill-mask", str(EMBEDDED))(PARIS)[0]["token_str"] == "capital"
    loaded = mlflow.pyfunc.load_model(str(EMBEDDED))
    assert list(loaded.predict(pd.DataFrame({"input_string": [PARIS]}))) == ["capital"]


def test_the_mlmodel_of_bert_base_cased_loads_weights_that_are_put_there(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bert-base-cased"
    shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns(".compiled"))
    shutil.copy(ROOT / "model" / "bert-base-cased" / "MLmodel", folder)
    shutil.copytree(checkpoint, folder / "components" / "tokenizer", ignore=shutil.ignore_patterns(".compiled", "*.s*"))
    loaded = mlflow.pyfunc.load_model(str(folder))
    assert len(loaded.predict(pd.DataFrame({"input_string": ["The [MASK] sat."]}))) == 1


def test_training_goes_on_from_the_embedded_model_alone() -> None:
    assert check_model(EMBEDDED, max_length=64).token_to_id("[MASK]") == 103


@pytest.mark.skipif(not CLOZE.is_file(), reason=f"no {CLOZE.name} beside this checkout (../shared/data)")
def test_the_embedded_model_finds_masked_words_as_its_card_says() -> None:
    report = evaluate(EMBEDDED, CLOZE, ["fp32", "int8"])
    card = (EMBEDDED / "README.md").read_text(encoding="utf-8")
    fp32, int8, against = report["fp32"], report["int8"], report["int8_vs_fp32"]
    assert fp32["accuracy@1"] >= 0.229
    assert abs(against["accuracy@1_points"]) <= 0.5
    assert against["agreement_on_clear_rows"] >= 0.97
    # int8's last digits depend on the CPU's instructions; fp32's do not move a word.
    assert f"| fp32 | {fp32['accuracy@1']:.1%} | {fp32['accuracy@5']:.1%} |".replace("%", " %") in card
    assert abs(int8["accuracy@5"] - fp32["accuracy@5"]) <= 0.005
