"""The step that packages: real folders in, a model that is served out, and one line for whatever is wrong."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import peft
import pytest
import torch
from azure.ai.ml import load_component
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification

from asset.local.jobs.summary import read_metrics
from evaluation import compute_metrics, model_prediction
from finetune.package.validation_models import CompiledClassifier, CompiledReader
from finetune.prepare.prepared import PreparedFolder
from serving.answering.question_answering import QuestionAnswering
from serving.answering.text_classification import TextClassification
from tests.finetune.multilingual import LANGUAGES, save_multilingual_tokenizer

ROOT = Path(__file__).resolve().parents[2]
CLASSIFIER, READER = "text-classification", "question-answering"
HEADS = {CLASSIFIER: AutoModelForSequenceClassification, READER: AutoModelForQuestionAnswering}


@pytest.fixture(autouse=True)
def short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed here takes milliseconds."""
    monkeypatch.setattr("finetune.package.compiled_check.TIMED_SECONDS", 0.3)


@pytest.fixture
def run(make_run: Callable[..., Any], make_checkpoint: Callable[..., Path]) -> Any:  # noqa: ANN401
    """Return a run whose compiled model is not checked."""
    labels = {"id2label": {0: "bad", 1: "so-so", 2: "good"}}
    return make_run(make_checkpoint(task=CLASSIFIER, initializer_range=0.5, **labels)).change(apply_ort=False)


def answered(run: Any, rows: list[dict[str, Any]], cache: Path) -> list[dict[str, Any]]:  # noqa: ANN401
    """Make validation rows of texts, with what the model says in int8 for what is right, and return them.

    The answers of a tiny model are chance, and eight bits change some of them: as they are right, the check passes.
    """
    if run.settings.task == CLASSIFIER:
        found = CompiledClassifier(run.tuned, "int8", cache).predict(rows)
        made = [{**row, "label": label} for row, label in zip(rows, found, strict=True)]
    else:
        found = CompiledReader(run.tuned, "int8", cache, run.settings).predict(rows)
        answers = ({"text": [answer], "answer_start": [-1]} for answer in found)
        made = [{**row, "answers": answer} for row, answer in zip(rows, answers, strict=True)]
    run.write_rows("validation", made)
    return made


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[Any], str]:
    """Package what cannot be packaged; return the one line that says why."""

    def package(run: Any) -> str:  # noqa: ANN401
        assert run.package(tmp_path / "out") == 1
        assert not (tmp_path / "out/model/MLmodel").exists()
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "package: " in line]
        return line

    return package


@pytest.mark.parametrize("task", [CLASSIFIER, READER])
@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
def test_an_adapter_alone_is_merged_into_the_base_model(
    make_checkpoint: Callable[..., Path], make_run: Callable[..., Any], tmp_path: Path, task: str, architecture: str
) -> None:
    base = make_checkpoint(architecture=architecture, initializer_range=0.3)
    torch.manual_seed(5)
    targets = ["query", "value"] if architecture == "bert" else ["q_lin", "v_lin"]
    heads = {CLASSIFIER: ["classifier", "pooler", "pre_classifier"], READER: ["qa_outputs"]}[task]
    options = {"id2label": {0: "no", 1: "yes"}} if task == CLASSIFIER else {}
    model = HEADS[task].from_pretrained(base, **options)
    named = make_checkpoint(architecture=architecture, task=task, **options)
    tuned = peft.get_peft_model(model, peft.LoraConfig(target_modules=targets, modules_to_save=heads, r=4)).eval()
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    run = make_run(named, base=base).change(apply_ort=False, merge_lora_weights=False)
    for file in ("config.json", "model.safetensors"):
        (run.tuned / file).unlink()
    tuned.save_pretrained(run.tuned)
    assert run.package(tmp_path) == 0
    merged = HEADS[task].from_pretrained(tmp_path / "model").eval()
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        expected, found = tuned(input_ids=ids), merged(input_ids=ids)
    for theirs, ours in zip(expected.to_tuple(), found.to_tuple(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    adapter = json.loads((tmp_path / "model/adapter/adapter_config.json").read_bytes())
    assert adapter["base_model_name_or_path"] == "example/tiny-bert"
    assert not (tmp_path / "model/adapter_config.json").exists()
    served = TextClassification if task == CLASSIFIER else QuestionAnswering
    assert served.load(tmp_path / "model", "fp32").name == f"tiny-bert-{task}"


def test_an_adapter_without_the_head_is_not_merged_with_a_random_one(
    make_checkpoint: Callable[..., Path],
    make_run: Callable[..., Any],
    refused: Callable[[Any], str],
) -> None:
    base = make_checkpoint()
    model = AutoModelForSequenceClassification.from_pretrained(base)
    run = make_run(make_checkpoint(task=CLASSIFIER), base=base)
    (run.tuned / "model.safetensors").unlink()
    peft.get_peft_model(model, peft.LoraConfig(target_modules=["query"])).save_pretrained(run.tuned)
    told = refused(run)
    assert (
        "expected bert.pooler.dense.bias, bert.pooler.dense.weight, classifier.bias, classifier.weight in the" in told
    )
    (run.tuned / "adapter_model.safetensors").write_bytes(b"no tensors")
    assert "expected an adapter of peft's for the base model" in refused(run)


def test_an_adapter_beside_a_whole_model_is_kept_and_read_by_nobody(run: Any, tmp_path: Path) -> None:  # noqa: ANN401
    model = AutoModelForSequenceClassification.from_pretrained(run.tuned)
    peft.get_peft_model(model, peft.LoraConfig(target_modules=["query"])).save_pretrained(run.tuned / "adapter")
    for name in ("checkpoints/checkpoint-4", "logs"):
        (run.tuned / name).mkdir(parents=True)
    shutil.copy(run.tuned / "model.safetensors", run.tuned / "checkpoints/checkpoint-4")
    assert run.package(tmp_path) == 0
    assert (tmp_path / "model/adapter/adapter_model.safetensors").is_file()
    assert not (tmp_path / "model/checkpoints").exists()
    assert isinstance(
        HEADS[CLASSIFIER].from_pretrained(tmp_path / "model"), type(HEADS[CLASSIFIER].from_pretrained(run.tuned))
    )


def test_training_that_did_not_finish_is_told(run: Any, refused: Callable[[Any], str]) -> None:  # noqa: ANN401
    (run.tuned / "training.json").write_text('{"best": ', encoding="utf-8")
    assert "training.json: expected what `python -m finetune.train` writes, found" in refused(run)
    (run.tuned / "training.json").unlink()
    told = refused(run)
    assert "expected training.json, which training writes last, found config.json, model.safetensors" in told
    assert "resume_from_checkpoint 'true'" in told
    shutil.rmtree(run.tuned)
    assert "found no such folder; training did not finish" in refused(run)


def test_a_prepared_folder_that_is_none_is_told(run: Any, refused: Callable[[Any], str]) -> None:  # noqa: ANN401
    (run.prepared / "settings.json").write_text("{}", encoding="utf-8")
    assert "settings.json: expected what `python -m finetune.prepare` writes" in refused(run)


def test_a_model_of_another_task_or_of_other_labels_is_told(
    run: Any,  # noqa: ANN401
    sharp_reader: Path,
    refused: Callable[[Any], str],
) -> None:
    config = run.tuned / "config.json"
    described = json.loads(config.read_bytes())
    config.write_text(json.dumps({**described, "id2label": {"0": "a", "1": "b", "2": "c"}}), encoding="utf-8")
    assert "expected a classifier that chooses one of the labels ['bad', 'so-so', 'good']" in refused(run)
    shutil.copytree(sharp_reader, run.tuned, dirs_exist_ok=True)
    told = refused(run)
    assert "expected a model for text-classification, as the prepared data, found one for question-answering" in told


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda weights: weights.update({"classifier.weight": np.zeros((3, 7), np.float32)}),
            r"classifier.weight of shape",
        ),
        (lambda weights: weights.pop("bert.pooler.dense.bias"), "no tensor pooler.dense.bias"),
        (lambda weights: weights["classifier.bias"].fill(np.nan), "found NaN or infinity in classifier.bias; training"),
    ],
    ids=["shape", "absent", "nan"],
)
def test_weights_that_do_not_fit_are_told(
    run: Any,  # noqa: ANN401
    refused: Callable[[Any], str],
    change: Callable[[dict[str, Any]], object],
    expected: str,
) -> None:
    file = run.tuned / "model.safetensors"
    weights = {name: array.copy() for name, array in load_file(file).items()}
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})
    assert expected in refused(run)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff\xfe", b'{"a": [1]}'])
def test_a_broken_file_is_told_in_a_line(
    run: Any,  # noqa: ANN401
    refused: Callable[[Any], str],
    name: str,
    content: bytes | None,
) -> None:
    file = run.tuned / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    if name == "tokenizer_config.json" and content in (None, b'{"a": [1]}'):
        assert run.package(run.tuned.parent / "out") == 0  # a checkpoint does without
    else:
        assert "Traceback" not in refused(run)


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond 64 KiB, which the weights do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told(run: Any, refused: Callable[[Any], str]) -> None:  # noqa: ANN401
    with full_disk():
        assert "expected a file that can be used, found: File too large" in refused(run)


@pytest.mark.parametrize("row", ["{", "[]", '{"text": "a secret"}', '{"text": "a", "label": "b", "text_pair": 1}'])
def test_a_prepared_row_that_is_none_is_told_by_its_line(run: Any, refused: Callable[[Any], str], row: str) -> None:  # noqa: ANN401
    for part in ("train", "validation"):
        file = run.prepared / f"{part}.jsonl"
        whole = file.read_text(encoding="utf-8")
        file.write_text("".join(whole.splitlines(keepends=True)[:2]) + row + "\n", encoding="utf-8")
        told = refused(run.change(apply_ort=part == "validation"))
        assert f"{part}.jsonl, line 3: expected a JSON object with text, label, found another" in told
        assert "secret" not in told
        file.write_text(whole, encoding="utf-8")


def test_a_run_without_validation_rows_is_told(run: Any, refused: Callable[[Any], str]) -> None:  # noqa: ANN401
    changed = run.settings.model_copy(update={"data": {"train": run.settings.data["train"]}})
    PreparedFolder(run.prepared).write_settings(changed)
    assert "expected validation rows, found none; prepare the data again" in refused(run)


def test_a_setting_of_the_server_that_is_wrong_is_told(
    run: Any,  # noqa: ANN401
    refused: Callable[[Any], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BERT_SERVING_ENGINE", "steam")
    assert "BERT_SERVING_ENGINE: expected one of auto, native, onnxruntime" in refused(run)


def test_metrics_are_shown_and_logged_once(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    store = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(store)
    logged = client.create_run(client.create_experiment("e", artifact_location=(tmp_path / "art").as_uri()))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_RUN_ID", logged.info.run_id)
    answered(run, list(PreparedFolder(run.prepared).rows("validation")), tmp_path)
    assert run.change(apply_ort=True).package(tmp_path) == 0
    metrics = {metric.name: metric.value for metric in read_metrics(tmp_path / "metrics")}
    assert {"loss", "accuracy", "accuracy_compiled_fp32", "latency_compiled_fp32", "latency_transformers_fp32"} <= set(
        metrics
    )
    assert metrics["accuracy_compiled_fp32"] == metrics["accuracy"]
    assert client.get_run(logged.info.run_id).data.metrics == pytest.approx(metrics)
    assert len(client.get_metric_history(logged.info.run_id, "accuracy")) == 1


@pytest.mark.parametrize("task", [CLASSIFIER, READER])
@pytest.mark.parametrize("kind", ["uncased", "distilbert", "multilingual"])
def test_models_of_the_family_are_packaged_evaluated_and_served(
    make_checkpoint: Callable[..., Path],
    make_run: Callable[..., Any],
    lines: list[str],
    tmp_path: Path,
    task: str,
    kind: str,
) -> None:
    multilingual = kind == "multilingual"
    checkpoint = make_checkpoint(
        architecture="distilbert" if kind == "distilbert" else "bert",
        task=task,
        lowercase=not multilingual,
        initializer_range=0.5,
        vocab_size=200,
    )
    if multilingual:
        save_multilingual_tokenizer(checkpoint)
    run = make_run(checkpoint)
    texts = LANGUAGES * 5 if multilingual else lines[:20]
    rows = [{"text": text} if task == CLASSIFIER else {"question": "Où?", "context": text} for text in texts]
    rows = answered(run, rows, tmp_path)
    assert run.package(tmp_path) == 0
    metrics = {metric.name: metric.value for metric in read_metrics(tmp_path / "metrics")}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    files = {name: str(tmp_path / f"{name}.jsonl") for name in model_prediction.OUTPUTS}
    outputs = [part for name, file in files.items() for part in (f"--{name.replace('_', '-')}", file)]
    given = ["--task", task, "--test-data", str(tmp_path / "rows.jsonl"), "--model", str(tmp_path / "model")]
    assert model_prediction.main([*given, "--precision", "fp32", *outputs]) == 0
    read = ("ground_truth", "prediction_probabilities")
    command = [part for name in read for part in (f"--{name.replace('_', '-')}", files[name])]
    command += ["--prediction", files["predictions"], "--output", str(tmp_path / "result")]
    assert compute_metrics.main(["--task", task, *command]) == 0
    found = {metric.name: metric.value for metric in read_metrics(tmp_path / "result")}
    if task == CLASSIFIER:
        assert found["accuracy"] == pytest.approx(metrics["accuracy_compiled_fp32"])
        assert found["macro_f1"] == pytest.approx(metrics["f1_macro_compiled_fp32"])
        scores = [labels[0].score for labels in TextClassification.load(tmp_path / "model", "fp32").classify(texts[:4])]
        assert len(set(scores)) == 4
    else:
        assert metrics["exact_compiled_fp32"] == metrics["exact"] > 0
        assert metrics["exact_compiled_fp32"] == pytest.approx(found["exact_match"], abs=0.1)  # it asks for several
        spans = QuestionAnswering.load(tmp_path / "model", "fp32").answer([("Où?", text) for text in texts[:4]])
        assert all(span.answer == text[span.start : span.end] for (span,), text in zip(spans, texts[:4], strict=True))


def test_the_command_runs_in_the_images_environment(run: Any, tmp_path: Path) -> None:  # noqa: ANN401
    run = run.change(apply_ort=True)
    answered(run, list(PreparedFolder(run.prepared).rows("validation")), tmp_path)
    done = subprocess.run(
        [
            *(
                str(ROOT / ".venv/finetune/bin/python"),
                "-m",
                "finetune.package",
                "--prepared",
                str(run.prepared),
            ),
            *("--pytorch-model-folder", str(run.tuned), "--mlflow-model-folder", str(tmp_path / "model")),
            *("--metrics", str(tmp_path / "metrics")),
        ],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "accuracy_compiled_fp32" in done.stdout
    assert "Warning" not in done.stderr
    assert (tmp_path / "model/MLmodel").is_file()


def test_the_component_is_one_that_azure_takes_and_says_what_is_allowed() -> None:
    component = load_component(ROOT / "finetune/components/package.yml")
    assert component._validate().passed
    assert set(component.inputs) == {"prepared", "pytorch_model_folder"}
    assert set(component.outputs) == {"mlflow_model_folder", "metrics"}
    for told in ("0.1 points in fp32", "2 points in int8", "onnxruntime-training"):
        assert told in component.description
