"""The evaluation jobs, run whole: the real YAML, each step in its own environment, and figures that others get too."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from serving.answering.question_answering import Options, Question, QuestionAnswering

ROOT = Path(__file__).resolve().parents[1]
EMBEDDED = ROOT / "model/embedded"
CLOZE = ROOT.parent / "shared/data/wikitext2_cloze_validation.jsonl"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of local state: MLflow's store is set up in it once."""
    yield tmp_path_factory.mktemp("asset")


@pytest.fixture(scope="module")
def run(state: Path) -> Callable[..., dict[str, Any]]:
    """Run the job of a task with some of its inputs changed; returns what metrics.json says."""

    def evaluate(task: str, **inputs: object) -> dict[str, Any]:
        command = [
            sys.executable,
            "-m",
            "asset.cli.main",
            "run",
            "-f",
            f"evaluation/evaluate-model-{task}.yml",
            "--json",
        ]
        for name, value in inputs.items():
            command += ["--set", f"inputs.{name}{'.path' if isinstance(value, Path) else ''}={value}"]
        done = subprocess.run(
            [*command, "--asset-dir", str(state)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        result = Path(json.loads(done.stdout)["outputs"]["evaluation_result"])
        assert (result / "report.html").stat().st_size > 10_000
        return json.loads((result / "metrics.json").read_bytes())

    return evaluate


def values(found: dict[str, Any]) -> dict[str, float]:
    return {metric["name"]: metric["value"] for metric in found["metrics"]}


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_an_evaluation_ends_with_a_table_of_metrics_and_the_reports_path(state: Path) -> None:
    command = [sys.executable, "-m", "asset.cli.main", "run", "-f", "evaluation/evaluate-model-fill-mask.yml"]
    command += ["--asset-dir", str(state)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table, _, end = done.stdout.rpartition("└")
    for name in ("accuracy@1", "accuracy@5", "perplexity", "pseudo_perplexity"):
        assert re.search(rf"│ {name} +│ +[\d.,]+(\u202f%)? │ +[\d.,]+( to |–)[\d.,]+(\u202f%)? │ +\d+ │", table), name
    found = re.search(r"^report: (.*/report\.html)$", end, re.MULTILINE)
    assert found and (ROOT / found[1]).is_file()
    assert "running the small embedded model in its place" in done.stderr + done.stdout


@pytest.mark.skipif(not CLOZE.is_file(), reason=f"no {CLOZE.name} beside this checkout (../shared/data)")
def test_the_share_of_words_found_is_that_of_a_loop_over_transformers(run: Callable[..., dict[str, Any]]) -> None:
    rows = [json.loads(line) for line in CLOZE.read_text(encoding="utf-8").splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    model = AutoModelForMaskedLM.from_pretrained(EMBEDDED, dtype=torch.float32).eval()
    right = 0
    for start in range(0, len(rows), 32):
        some = rows[start : start + 32]
        encoded = tokenizer([row["input_string"] for row in some], return_tensors="pt", padding=True)
        with torch.no_grad():
            best = model(**encoded).logits[encoded.input_ids == tokenizer.mask_token_id].argmax(1)
        words = tokenizer.convert_ids_to_tokens(best.tolist())
        # The embedded model's vocabulary is uncased.
        right += sum(row["title"].lower() == word for row, word in zip(some, words, strict=True))
    expected = right / len(rows)
    inputs: dict[str, object] = {"test_data": CLOZE, "mlflow_model": EMBEDDED}
    for precision, tolerance in (("fp32", 0.001), ("int8", 0.005)):
        found = run("fill-mask", precision=precision, **inputs)
        assert found["data"] == {**found["data"], "rows": 1940, "rejected": 0}
        assert found["model"]["precision"] == precision
        assert abs(values(found)["accuracy@1"] - expected) < tolerance


def test_a_classifier_is_evaluated(run: Callable[..., dict[str, Any]], sharp_classifier: Path, tmp_path: Path) -> None:
    texts = [f"The {size} {animal} sat on the mat." for size in ("warm", "cold", "red") for animal in ("cat", "dog")]
    tokenizer = AutoTokenizer.from_pretrained(sharp_classifier)
    model = AutoModelForSequenceClassification.from_pretrained(sharp_classifier).eval()
    with torch.no_grad():
        best = model(**tokenizer(texts, return_tensors="pt", padding=True)).logits.argmax(1).tolist()
    labels = model.config.id2label
    rows = [{"text": text, "label": labels[index]} for text, index in zip(texts, best, strict=True)]
    rows[0]["label"] = labels[(best[0] + 1) % len(labels)]
    data = jsonl(tmp_path / "rows.jsonl", [*rows, {"text": "", "label": labels[0]}])
    found = run("text-classification", test_data=data, mlflow_model=sharp_classifier, precision="fp32")
    assert (found["data"]["rows"], found["data"]["rejected"]) == (6, 1)
    assert values(found)["accuracy"] == pytest.approx(5 / 6)


def test_answers_are_evaluated(run: Callable[..., dict[str, Any]], sharp_reader: Path, tmp_path: Path) -> None:
    context = "The cat sat on the warm mat and the dog looked at moon number 1234. "
    questions = [
        f"{word} {deed}?" for word in ("Who", "What", "Where", "When") for deed in ("sat", "looked", "was warm")
    ]
    asked = [Question(question, context) for question in questions]
    spans = QuestionAnswering.load(sharp_reader, "fp32").answer(asked, Options(top_k=5, max_answer_length=30))
    answers = [context[best.start : best.end] for best, *_ in spans]
    # Where SQuAD's normalization leaves nothing of an answer, it counts as exact and has no F1.
    rows = [
        {"question": question, "context": context, "answers": answer}
        for question, answer in zip(questions, answers, strict=True)
        if re.search(r"[a-z0-9]{4}", answer)
    ]
    assert len(rows) > 3
    rows[0]["answers"] = "nothing of this"
    data = jsonl(tmp_path / "rows.jsonl", rows)
    found = run("question-answering", test_data=data, mlflow_model=sharp_reader, precision="fp32")
    share = (len(rows) - 1) / len(rows)
    assert (values(found)["exact_match"], values(found)["f1"]) == (pytest.approx(share), pytest.approx(share))


def test_a_killed_evaluation_goes_on_and_takes_nothing_half_written(state: Path, tmp_path: Path) -> None:
    row = {"input_string": "Paris is the [MASK] of France.", "title": "capital"}
    data = jsonl(tmp_path / "rows.jsonl", [row] * 50_000)
    command = [sys.executable, "-m", "asset.cli.main", "run", "--asset-dir", str(state)]
    job = ["-f", "evaluation/evaluate-model-fill-mask.yml", "--set", f"inputs.test_data.path={data}"]
    before = set((state / "runs").iterdir()) if (state / "runs").is_dir() else set()
    process = subprocess.Popen([*command, *job], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while time.monotonic() < until and not (written := [*state.rglob(".predictions*.partial")]):
        time.sleep(0.05)
    assert process.poll() is None and written
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (folder,) = set((state / "runs").iterdir()) - before
    assert not list(folder.glob("model_prediction/outputs/*"))
    done = subprocess.run([*command, "--resume", folder.name, "--json"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {name: step["status"] for name, step in told["steps"].items()} == dict.fromkeys(told["steps"], "finished")
    assert (
        json.loads((Path(told["outputs"]["evaluation_result"]) / "metrics.json").read_bytes())["data"]["rows"] == 50_000
    )
