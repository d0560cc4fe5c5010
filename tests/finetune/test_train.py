"""Training through its command: tiny real checkpoints, from a prepared folder to a model that answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from azure.ai.ml import load_component
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    trainer_callback,
)

from finetune.prepare.prepared import PreparedFolder
from finetune.tasks.task import tuning_task
from finetune.train.checkpoints import checkpoints_in
from finetune.train.task_model import load, read_config, with_lora
from serving.answering.question_answering import QuestionAnswering
from tests.finetune.train_runs import changed, trained, weights

ROOT = Path(__file__).parents[2]
Make = Callable[..., PreparedFolder]
Rows = list[dict[str, Any]]
pytestmark = pytest.mark.usefixtures("one_thread")


def accuracy(model: torch.nn.Module, folder: Path, rows: Rows) -> float:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(
        [row["text"] for row in rows], return_tensors="pt", padding=True, truncation=True, max_length=32
    )
    with torch.inference_mode():
        best = model.eval()(**encoded).logits.argmax(-1).tolist()
    return sum(model.config.id2label[label] == row["label"] for label, row in zip(best, rows, strict=True)) / len(rows)


# A run from start to end


def test_a_classifier_learns_and_is_what_was_measured(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = make_prepared(checkpoint, labelled[:400], labelled[400:], num_train_epochs=4, learning_rate=5e-3)
    report = trained(prepared, output := tmp_path / "out")
    model, loaded = AutoModelForSequenceClassification.from_pretrained(output, output_loading_info=True)
    assert not any(loaded[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert report["best"]["metrics"]["accuracy"] > 0.9
    assert accuracy(model, output, labelled[400:]) == report["best"]["metrics"]["accuracy"]
    assert set(report["best"]["metrics"]) == set(tuning_task("text-classification").metrics)
    assert {tensor.dtype for tensor in weights(output).values()} == {torch.float32}
    assert model.config.label2id == {"warm": 0, "cold": 1, "red": 2}
    assert (report["device"], report["precision"], report["processes"]) == ("cpu", "fp32", 1)
    assert report["versions"]["torch"] == torch.__version__.partition("+")[0] or torch.__version__
    assert [entry["step"] for entry in report["history"] if "eval_loss" in entry] == [50, 100, 150, 200]
    found = capsys.readouterr()
    assert found.err.count("new in the model, to be trained: bert.pooler.dense, classifier\n") == 1
    assert "Warning" not in found.err
    assert found.out.startswith(f"best at step {report['best']['step']}: ")


def test_tokens_a_second_count_what_is_no_padding(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path
) -> None:
    features = {"pad_to_max_length": True, "max_seq_length": 32}
    prepared = make_prepared(checkpoint, labelled[:40], labelled[40:80], num_train_epochs=2, features=features)
    report = trained(prepared, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    texts = [row["text"] for row in labelled[:40]]
    tokens = 2 * sum(map(len, tokenizer(texts, truncation=True, max_length=32).input_ids))
    assert report["tokens_per_second"] * report["seconds"] == pytest.approx(tokens, rel=0.01)


def test_lora_in_16_bits_computes_in_them(make_prepared: Make, checkpoint: Path, labelled: Rows) -> None:
    prepared = make_prepared(checkpoint, labelled[:8], labelled[8:16], apply_lora=True)
    settings = prepared.settings()
    model = with_lora(load(prepared, settings, read_config(prepared, settings)).model, settings)
    given: set[torch.dtype] = set()
    # A layer whose input is the product of another: peft would make fp32 of it, and autocast 16 bits again.
    layer = model.get_submodule("base_model.model.bert.encoder.layer.0.output.dense.lora_A.default")
    layer.register_forward_hook(lambda module, inputs, output: given.add(inputs[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        model(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([0]))
    assert given == {torch.bfloat16}


@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
def test_lora_leaves_the_encoder_and_trains_all_that_is_new(
    make_checkpoint: Callable[..., Path], make_prepared: Make, labelled: Rows, tmp_path: Path, architecture: str
) -> None:
    base = make_checkpoint(architecture=architecture, initializer_range=0.2)  # frozen features that differ
    prepared = make_prepared(
        base, labelled[:400], labelled[400:], num_train_epochs=3, apply_lora=True, lora_alpha=16, learning_rate=5e-3
    )
    report = trained(prepared, output := tmp_path / "out")
    assert report["best"]["metrics"]["accuracy"] > 0.6  # of 0.375 by always the same
    with safe_open(output / "adapter" / "adapter_model.safetensors", "pt") as adapter:
        whole = sorted(name for name in adapter.keys() if "lora_" not in name and name.endswith("weight"))  # noqa: SIM118
    new = {"bert": ["bert.pooler.dense", "classifier"], "distilbert": ["classifier", "pre_classifier"]}[architecture]
    assert whole == [f"base_model.model.{name}.weight" for name in new]
    before, after = load_file(base / "model.safetensors"), weights(output)
    words = next(name for name in after if name.endswith("word_embeddings.weight"))
    assert torch.equal(before[words], after[words])

    model = AutoModelForSequenceClassification.from_pretrained(output).eval()
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    adapted = PeftModel.from_pretrained(plain, output / "adapter").eval()
    tokens = AutoTokenizer.from_pretrained(output)(labelled[0]["text"], return_tensors="pt")
    tokens = {name: values for name, values in tokens.items() if architecture == "bert" or name != "token_type_ids"}
    torch.testing.assert_close(model(**tokens).logits, adapted(**tokens).logits, rtol=1e-4, atol=1e-5)
    assert json.loads((output / "adapter" / "adapter_config.json").read_bytes())["base_model_name_or_path"] == "tiny"


def test_lora_that_is_not_merged_is_the_folder_itself(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path
) -> None:
    prepared = make_prepared(checkpoint, labelled[:64], labelled[64:96], apply_lora=True, merge_lora_weights=False)
    trained(prepared, output := tmp_path / "out")
    files = {path.name for path in output.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "training.json"} <= files
    assert not files & {"model.safetensors", "adapter", "README.md"}
    PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3), output)


def test_questions_are_learned_and_answered_by_what_serves(
    make_prepared: Make, checkpoint: Path, asked: Rows, tmp_path: Path
) -> None:
    prepared = make_prepared(
        checkpoint, asked[:400], asked[400:440], num_train_epochs=3, learning_rate=5e-3, metric_for_best_model="f1"
    )
    report = trained(prepared, output := tmp_path / "out")
    assert set(report["best"]["metrics"]) == set(tuning_task("question-answering").metrics)
    assert report["best"]["metrics"]["f1"] > 0.9
    AutoModelForQuestionAnswering.from_pretrained(output)
    served = QuestionAnswering.load(output, "fp32").answer(
        [(row["question"], row["context"]) for row in asked[400:440]]
    )
    right = [spans[0].answer in row["answers"]["text"] for spans, row in zip(served, asked[400:440], strict=True)]
    assert sum(right) / len(right) == pytest.approx(report["best"]["metrics"]["exact"], abs=0.1)


def test_the_best_checkpoint_is_what_is_left_not_the_last(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path
) -> None:
    # A rate that grows into ruin: the last steps are worse than the first.
    prepared = make_prepared(
        checkpoint,
        labelled[:200],
        labelled[200:260],
        num_train_epochs=6,
        learning_rate=0.3,
        warmup_steps=100_000,
        max_grad_norm=0,
        metric_for_best_model="accuracy",
        save_total_limit=1,
    )
    changed(prepared, warmup_steps=30)
    report = trained(prepared, output := tmp_path / "out")
    measured = {entry["step"]: entry["eval_accuracy"] for entry in report["history"] if "eval_accuracy" in entry}
    assert report["best"]["step"] == min(step for step, value in measured.items() if value == max(measured.values()))
    model = AutoModelForSequenceClassification.from_pretrained(output)
    assert accuracy(model, output, labelled[200:260]) == report["best"]["metrics"]["accuracy"]
    assert [path.name for path in checkpoints_in(output / "checkpoints")] == [f"checkpoint-{report['best']['step']}"]


def test_a_share_of_an_epoch_rules_over_steps_and_the_end_is_measured(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path
) -> None:
    prepared = make_prepared(
        checkpoint, labelled[:64], labelled[64:80], evaluation_steps_interval=0.4, eval_steps=7, max_steps=10
    )
    report = trained(prepared, output := tmp_path / "out")
    assert [entry["step"] for entry in report["history"] if "eval_loss" in entry] == [3, 6, 9, 10]
    assert [path.name for path in checkpoints_in(output / "checkpoints")] == [
        f"checkpoint-{step}" for step in (3, 6, 9, 10)
    ]


def test_training_stops_early_where_it_gets_no_better(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path
) -> None:
    prepared = make_prepared(
        checkpoint,
        labelled[:32],
        labelled[32:64],
        num_train_epochs=20,
        learning_rate=0,
        apply_early_stopping=True,
        early_stopping_patience=2,
    )
    report = trained(prepared, tmp_path / "out")
    assert [entry["step"] for entry in report["history"] if "eval_loss" in entry] == [4, 8, 12]


def test_the_same_inputs_give_the_same_bytes(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path
) -> None:
    prepared = make_prepared(checkpoint, labelled[:80], labelled[80:96], apply_lora=True, lora_dropout=0.1)
    found = []
    for name in ("a", "b"):
        trained(prepared, tmp_path / name)
        found.append((tmp_path / name / "model.safetensors").read_bytes())
    assert found[0] == found[1]


def test_accumulated_batches_are_one_batch(
    make_prepared: Make, make_checkpoint: Callable[..., Path], labelled: Rows, tmp_path: Path
) -> None:
    base = make_checkpoint(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    found = []
    for size, times in ((8, 1), (4, 2)):
        prepared = make_prepared(
            base,
            labelled[:80],
            labelled[80:96],
            per_device_train_batch_size=size,
            gradient_accumulation_steps=times,
            logging_steps=1,
            learning_rate=1e-3,
        )
        report = trained(prepared, tmp_path / f"of-{size}")
        found.append([entry["loss"] for entry in report["history"] if "loss" in entry])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


# What is told while it runs


def test_a_log_gets_few_states_of_one_bar_and_no_moves_of_the_cursor(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = make_prepared(
        checkpoint, labelled[:160], labelled[160:240], per_device_eval_batch_size=1, logging_strategy="epoch"
    )
    trained(prepared, tmp_path / "out")
    told = capsys.readouterr().err
    assert "\x1b" not in told
    assert all(line.strip() for line in told.rstrip("\n").split("\n"))
    # At the beginning, after each of two lines, and at the end: 20 steps and 80 batches draw nothing by themselves.
    assert told.count("training:") == 4
    assert "| 20/20 [" in told.splitlines()[-1]


def test_tensorboard_gets_every_figure(make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path) -> None:
    prepared = make_prepared(checkpoint, labelled[:32], labelled[32:48], logging_steps=2)
    trained(prepared, tmp_path / "out")
    events = EventAccumulator(str(tmp_path / "out" / "logs"))
    events.Reload()
    assert [event.step for event in events.Scalars("eval/loss")] == [4]
    assert [event.step for event in events.Scalars("train/loss")] == [2, 4]


def test_mlflow_gets_the_figures_in_the_jobs_run_whatever_it_knows(
    make_prepared: Make, checkpoint: Path, labelled: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes ten seconds to set up
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri := (tmp_path / "mlruns").as_uri())
    client = mlflow.MlflowClient(uri)
    job = client.create_run("0").info.run_id
    client.log_param(job, "learning_rate", "the job's own")
    client.log_param(job, "output_dir", "elsewhere")
    monkeypatch.setenv("MLFLOW_RUN_ID", job)
    warned: list[object] = []
    monkeypatch.setattr(trainer_callback.logger, "warning", lambda *told: warned.append(told))
    trained(make_prepared(checkpoint, labelled[:32], labelled[32:48]), tmp_path / "out")
    assert warned == []  # of two callbacks of one class
    mlflow.flush_async_logging()
    assert [metric.step for metric in client.get_metric_history(job, "eval_loss")] == [4]
    params = client.get_run(job).data.params
    assert (params["learning_rate"], params["num_train_epochs"]) == ("the job's own", "1")
    assert len(client.search_runs(["0"])) == 1


def test_a_store_that_fails_does_not_end_the_training(
    make_prepared: Make,
    checkpoint: Path,
    labelled: Rows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    trained(make_prepared(checkpoint, labelled[:32], labelled[32:48]), tmp_path / "out")
    assert capsys.readouterr().err.count("MLflow takes no more records") == 1
    assert (tmp_path / "out" / "logs").is_dir()


def test_the_component_is_valid() -> None:
    component = load_component(ROOT / "finetune/components/train.yml")
    assert component._validate().error_messages == {}
    assert component.outputs["pytorch_model_folder"].mode == "rw_mount"
    assert component.distribution.process_count_per_instance == 1
