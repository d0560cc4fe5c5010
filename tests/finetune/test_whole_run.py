"""Models of the family from a base to answers: prepared, trained, packaged, evaluated and served."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from asset.local.jobs.summary import read_metrics
from evaluation import compute_metrics, model_prediction
from finetune.package import __main__ as package
from finetune.prepare import __main__ as prepare
from finetune.train import __main__ as train
from serving.answering.text_classification import TextClassification
from tests.finetune.multilingual import LANGUAGES, save_multilingual_tokenizer
from tests.finetune.prepare_samples import argv, write

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = {
    "task": "text-classification",
    "sentence1_key": "text",
    "label_key": "label",
    "apply_deepspeed": "false",
    "learning_rate": 1e-2,
    "lora_alpha": 16,
    "num_train_epochs": 10,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 16,
    "metric_for_best_model": "accuracy",
    "save_total_limit": 1,
}


def sentences(kind: str, lines: list[str]) -> list[dict[str, str]]:
    """Return 120 texts whose label is to be seen in them."""
    if kind == "multilingual":
        return [{"text": f"{LANGUAGES[n % 4]} {LANGUAGES[n % 3][:8]}", "label": str(n % 2)} for n in range(120)]
    return [
        {"text": line, "label": "cat or dog" if " cat " in line or " dog " in line else "other"} for line in lines[:120]
    ]


@pytest.mark.parametrize("kind", ["uncased", "distilbert", "multilingual"])
def test_a_base_of_the_family_is_tuned_evaluated_and_served(
    make_checkpoint: Callable[..., Path], lines: list[str], tmp_path: Path, kind: str
) -> None:
    base = make_checkpoint(
        architecture="distilbert" if kind == "distilbert" else "bert",
        lowercase=kind != "multilingual",
        **({"vocab_size": 200} if kind == "multilingual" else {}),
    )
    if kind == "multilingual":
        save_multilingual_tokenizer(base)
    rows = sentences(kind, lines)
    parts = {"train": write(tmp_path / "train.jsonl", rows[:90]), "test": write(tmp_path / "test.jsonl", rows[90:])}
    folders = {name: str(tmp_path / name) for name in ("prepared", "tuned", "model", "metrics", "result")}
    given = {"train_file_path": parts["train"], "validation_file_path": parts["test"], "pytorch_model_path": base}
    assert prepare.main(argv({**SETTINGS, **given, "prepared": folders["prepared"]})) == 0
    trained = {"--prepared": folders["prepared"], "--pytorch-model-folder": folders["tuned"]}
    assert train.main([part for option in trained.items() for part in option]) == 0
    packaged = {**trained, "--mlflow-model-folder": folders["model"], "--metrics": folders["metrics"]}
    assert package.main([part for option in packaged.items() for part in option]) == 0
    files = {name: str(tmp_path / f"{name}.jsonl") for name in model_prediction.OUTPUTS}
    outputs = [part for name, file in files.items() for part in (f"--{name.replace('_', '-')}", file)]
    asked = ["--task", "text-classification", "--test-data", str(parts["test"]), "--model", folders["model"]]
    assert model_prediction.main([*asked, "--precision", "fp32", *outputs]) == 0
    read = ["--ground-truth", files["ground_truth"], "--prediction", files["predictions"]]
    assert compute_metrics.main(["--task", "text-classification", *read, "--output", folders["result"]]) == 0
    found = {metric.name: metric.value for metric in read_metrics(Path(folders["result"]))}
    told = json.loads((tmp_path / "tuned/training.json").read_bytes())["best"]["metrics"]
    served = TextClassification.load(Path(folders["model"]), "fp32").classify([row["text"] for row in rows[90:]])
    right = sum(labels[0].label == row["label"] for labels, row in zip(served, rows[90:], strict=True))
    assert found["accuracy"] == pytest.approx(told["accuracy"]) == pytest.approx(right / 30)
    assert right >= 24
