"""The fine-tuning jobs, run whole: the real YAML, each step in its environment, and what comes out evaluated and served."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asset.local.server import local_server

ROOT = Path(__file__).resolve().parents[1]
ASSET = [sys.executable, "-m", "asset.cli.main"]
SAMPLES = ROOT / "finetune/sample_data"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of local state: MLflow's store is set up in it once."""
    return tmp_path_factory.mktemp("asset")


@pytest.fixture(scope="module")
def run(state: Path) -> Callable[..., dict[str, Any]]:
    """Run a job with some of its inputs changed; returns what `--json` tells of it."""

    def asset_run(job: str, **inputs: object) -> dict[str, Any]:
        command = [*ASSET, "run", "-f", job, "--json", "--asset-dir", str(state)]
        for name, value in inputs.items():
            command += ["--set", f"inputs.{name}{'.path' if isinstance(value, Path) else ''}={value}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    return asset_run


@pytest.fixture(scope="module")
def sentiment(run: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The run of the sentiment job as it is."""
    return run("finetune/finetune-sentiment.yml")


@pytest.fixture(scope="module")
def topics(run: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A run of the topics job in two processes, with as many rows a step as in one."""
    return run("finetune/finetune-topics.yml", number_of_gpu_to_use_finetuning=2, per_device_train_batch_size=8)


@pytest.fixture(scope="module")
def answers(run: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The run of the question-answering job as it is."""
    return run("finetune/finetune-question-answering.yml")


def tuned(told: dict[str, Any]) -> Path:
    return Path(told["outputs"]["mlflow_model_folder"])


def ask(model: Path, *requests: dict[str, Any]) -> list[Any]:
    """Return the real server's answers, from the environment of the serving image."""
    answers = []
    with local_server(model, python=ROOT / ".venv/serving/bin/python") as server:
        for request in requests:
            reply = server.post(json.dumps(request).encode())
            assert reply.status == 200, reply.body
            answers.append(json.loads(reply.body))
    return answers


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_tuned_classifier_is_served_as_it_is(sentiment: dict[str, Any]) -> None:
    plain, both = ask(
        tuned(sentiment),
        {"input_data": ["This is awesome", "What a terrible, boring waste of an evening."]},
        {"input_data": ["This is awesome"], "parameters": {"top_k": None}},
    )
    assert [answer["label"] for answer in plain] == ["POSITIVE", "NEGATIVE"]
    (labels,) = both
    assert [label["label"] for label in labels] == ["POSITIVE", "NEGATIVE"]
    assert sum(label["score"] for label in labels) == pytest.approx(1, abs=1e-3)


def test_a_run_tells_the_figures_that_training_found(sentiment: dict[str, Any]) -> None:
    training = json.loads((Path(sentiment["outputs"]["pytorch_model_folder"]) / "training.json").read_bytes())
    assert sentiment["metrics"]["accuracy"] == pytest.approx(training["best"]["metrics"]["accuracy"])
    assert (training["processes"], training["precision"]) == (1, "fp32")
    assert [name.split(".")[-1] for name in sentiment["steps"]] == ["prepare", "train", "package"]


def test_a_tuned_classifier_is_better_than_chance_when_evaluated(
    run: Callable[..., dict[str, Any]], sentiment: dict[str, Any]
) -> None:
    test = SAMPLES / "sentiment/validation.jsonl"
    found = run("evaluation/evaluate-model-text-classification.yml", mlflow_model=tuned(sentiment), test_data=test)
    # 60 texts, half of each label: by chance, 41 or more are right once in 320 times.
    assert found["metrics"]["accuracy"] >= 41 / 60
    assert found["metrics"]["accuracy"] == pytest.approx(sentiment["metrics"]["accuracy"], abs=2.5 / 60)


def test_tags_are_learned_in_two_processes(run: Callable[..., dict[str, Any]], topics: dict[str, Any]) -> None:
    training = json.loads((Path(topics["outputs"]["pytorch_model_folder"]) / "training.json").read_bytes())
    assert training["processes"] == 2
    labels = json.loads((tuned(topics) / "config.json").read_bytes())["id2label"]
    assert list(labels.values()) == ["c", "java", "javascript", "python", "sql"]
    found = run(
        "evaluation/evaluate-model-text-classification.yml",
        mlflow_model=tuned(topics),
        test_data=SAMPLES / "topics/validation.csv",
        label_column_name="tag",
    )
    # 50 texts of 5 labels: by chance, 19 or more are right once in 400 times.
    assert found["metrics"]["accuracy"] >= 19 / 50


def test_answers_are_found_in_the_users_own_text(run: Callable[..., dict[str, Any]], answers: dict[str, Any]) -> None:
    test = SAMPLES / "question-answering/validation.jsonl"
    found = run("evaluation/evaluate-model-question-answering.yml", mlflow_model=tuned(answers), test_data=test)
    assert found["metrics"]["f1"] == pytest.approx(answers["metrics"]["f1"], abs=0.15)
    rows = [json.loads(line) for line in test.read_text(encoding="utf-8").splitlines()[:2]]
    asked = [{"question": row["question"], "context": row["context"]} for row in rows]
    (spans,) = ask(tuned(answers), {"input_data": asked})
    for row, span in zip(rows, spans, strict=True):
        assert span["answer"] and row["context"][span["start"] : span["end"]] == span["answer"]


def test_a_killed_run_goes_on_to_the_same_weights(sentiment: dict[str, Any], state: Path) -> None:
    runs = state / "runs"
    before = set(runs.iterdir())
    command = [*ASSET, "run", "--asset-dir", str(state)]
    job = [*command, "-f", "finetune/finetune-sentiment.yml"]
    process = subprocess.Popen(job, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until, written = time.monotonic() + 300, []
    while time.monotonic() < until and not written and process.poll() is None:
        time.sleep(0.05)
        # A checkpoint is whole once its trainer_state.json is there.
        written = [file for folder in set(runs.iterdir()) - before for file in folder.rglob("trainer_state.json")]
    assert process.poll() is None and written
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (folder,) = set(runs.iterdir()) - before
    resume = [*command, "--resume", folder.name, "--json"]
    done = subprocess.run(resume, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert digest(tuned(told) / "model.safetensors") == digest(tuned(sentiment) / "model.safetensors")
    log = next(Path(step["log"]) for name, step in told["steps"].items() if name.endswith("train"))
    assert re.search(r"(?i)checkpoint-\d+", log.read_text(encoding="utf-8")), "expected it to say where it went on"


def test_the_sample_job_ends_with_figures_and_the_way_to_serve_the_model(state: Path) -> None:
    command = [*ASSET, "run", "-f", "finetune/finetune-sentiment.yml", "--asset-dir", str(state)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"│ accuracy +│ +[\d.,]+", done.stdout)
    (model,) = re.findall(r"make serve MODEL=(.*/mlflow_model_folder)$", done.stdout, re.MULTILINE)
    assert (ROOT / model / "MLmodel").is_file()
    assert "running the small embedded model in its place" in done.stderr + done.stdout
