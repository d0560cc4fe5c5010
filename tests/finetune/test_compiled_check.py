"""A compiled model that answers worse than transformers fails the job, and one that does not is timed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from finetune.errors import FinetuneError
from finetune.package.compiled_check import ROUNDS, Checked, CompiledCheck, check, failed, falls, times
from finetune.package.validation_figures import figures
from finetune.package.validation_models import NO_ANSWER, CompiledClassifier, TransformersClassifier
from finetune.prepare.prepared import PreparedFolder
from finetune.tasks.task import tuning_task
from serving.engine.machine import has_int8_products

CLASSIFIER, READER = "text-classification", "question-answering"
needs_int8 = pytest.mark.skipif(
    not has_int8_products(), reason="this CPU has neither VNNI nor AMX: int8 is not checked"
)


@pytest.fixture(autouse=True)
def short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed here takes milliseconds."""
    monkeypatch.setattr("finetune.package.compiled_check.TIMED_SECONDS", 0.3)


def with_outlier(checkpoint: Path, scale: float) -> Path:
    """Make one weight of each row of a matrix so large that eight bits have nothing left for the others.

    In fp32 nothing changes: the weight is that of a neuron whose bias silences it. What is added to all logits changes
    no label either, but makes errors small beside them: compilation takes a model that this check refuses.
    """
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    layer = model.bert.encoder.layer[0]
    with torch.no_grad():
        layer.output.dense.weight[:, 3] *= scale
        layer.intermediate.dense.weight[3] = 0
        layer.intermediate.dense.bias[3] = -8
        model.classifier.bias += 3
    model.save_pretrained(checkpoint)
    return checkpoint


@pytest.fixture
def make_outlier(
    make_checkpoint: Callable[..., Path], make_run: Callable[..., Any], lines: list[str], tmp_path: Path
) -> Callable[..., Any]:
    """Make a run of such a checkpoint, whose labels are what it predicts: by transformers, or compiled in int8."""

    def make(scale: float, right: str) -> Any:  # noqa: ANN401
        run = make_run(with_outlier(make_checkpoint(task=CLASSIFIER, initializer_range=0.5), scale))
        rows = [{"text": line} for line in lines[:200]]
        model = TransformersClassifier(run.tuned)
        if right != "transformers":
            model = CompiledClassifier(run.tuned, right, tmp_path)
        run.write_rows(
            "validation", [{**row, "label": label} for row, label in zip(rows, model.predict(rows), strict=True)]
        )
        return run

    return make


def values(folder: Path) -> dict[str, float]:
    found = json.loads((folder / "metrics/metrics.json").read_bytes())
    return {metric["name"]: metric["value"] for metric in found["metrics"]}


@needs_int8
def test_int8_that_answers_worse_fails_with_both_figures_and_the_ways_out(
    make_outlier: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make_outlier(150, "transformers").package(tmp_path) == 1
    found = values(tmp_path)
    assert found["accuracy"] == found["accuracy_compiled_fp32"] == 1
    assert found["accuracy_compiled_int8"] < 0.95
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("package: ")]
    assert re.match(
        r"package: apply_ort: int8 accuracy 0\.\d{4}, expected at least 0\.9800 "
        r"\(1\.0000 of transformers in fp32, less 2 points\); int8 f1_macro ",
        told,
    )
    assert told.endswith("serve it with BERT_SERVING_PRECISION=fp32 and set apply_ort to 'false', or train again")
    assert not (tmp_path / "model").exists()


@needs_int8
def test_int8_that_answers_better_does_not_fail(make_outlier: Callable[..., Any], tmp_path: Path) -> None:
    assert make_outlier(150, "int8").package(tmp_path) == 0
    found = values(tmp_path)
    assert found["accuracy_compiled_int8"] == 1
    assert found["accuracy"] == found["accuracy_compiled_fp32"] < 0.95


@needs_int8
def test_int8_that_cannot_be_compiled_fails_with_the_ways_out(
    make_outlier: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make_outlier(300, "transformers").package(tmp_path) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"package: apply_ort: int8 cannot be compiled: .*off the reference by .*; serve it with ", told)


def test_without_apply_ort_nothing_is_compared(make_outlier: Callable[..., Any], tmp_path: Path) -> None:
    assert make_outlier(150, "transformers").change(apply_ort=False).package(tmp_path) == 0
    assert set(values(tmp_path)) == {"loss", "accuracy", "f1_macro", "mcc"}


def test_a_cpu_without_int8_checks_fp32_alone_and_says_so(make_outlier: Callable[..., Any], tmp_path: Path) -> None:
    run = make_outlier(150, "transformers")
    found = check(run.tuned, PreparedFolder(run.prepared), run.settings, tmp_path, int8=False)
    assert list(found.compiled) == ["fp32"]
    assert found.failures == []
    assert found.notes == ["int8 was not checked: this CPU has neither VNNI nor AMX, so that fp32 is served here"]


@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
def test_answers_are_compared_also_of_questions_that_leave_no_room(
    make_checkpoint: Callable[..., Path],
    make_run: Callable[..., Any],
    lines: list[str],
    tmp_path: Path,
    architecture: str,
) -> None:
    run = make_run(make_checkpoint(architecture=architecture, task=READER, initializer_range=0.5))
    long = {"question": "Who sat? " * 9, "context": lines[0] * 3, "answers": {"text": ["cat"], "answer_start": [4]}}
    rows = [*PreparedFolder(run.prepared).rows("validation"), long]
    run.write_rows("validation", rows)
    found = check(run.tuned, PreparedFolder(run.prepared), run.settings, tmp_path, int8=False)
    assert found.rows == len(rows)
    assert found.compiled["fp32"].predictions == found.transformers.predictions
    assert found.transformers.predictions[-1] == NO_ANSWER
    assert NO_ANSWER not in found.transformers.predictions[:-1]
    assert set(found.transformers.figures) == {"f1", "exact"}
    assert found.speedup("fp32") == found.transformers.milliseconds / found.compiled["fp32"].milliseconds > 0


def compared(truths: list[str], before: list[str], after: list[str], precision: str) -> CompiledCheck:
    """Return what a check of these predictions comes to."""
    checked = [Checked(labels, figures(tuning_task(CLASSIFIER), truths, labels)) for labels in (before, after)]
    return CompiledCheck(len(truths), 0, 1, checked[0], {precision: checked[1]}, [], [])


@pytest.mark.parametrize(
    ("precision", "rows", "wrong", "fails"),
    [
        ("fp32", 20, 1, False),  # 5 points, but one row
        ("fp32", 20, 2, True),
        ("int8", 20, 1, False),
        ("int8", 20, 2, True),
        ("int8", 1000, 20, False),
        ("int8", 1000, 21, True),
        ("fp32", 1000, 1, False),
        ("fp32", 1000, 2, True),
    ],
)
def test_a_figure_may_fall_by_its_points_or_by_one_row(precision: str, rows: int, wrong: int, fails: bool) -> None:
    truths = ["a", "b"] * (rows // 2)
    after = ["b" if index < 2 * wrong else label for index, label in enumerate(truths)]
    found = compared(truths, truths, after, precision)
    told = [line for line in falls(tuning_task(CLASSIFIER), precision, truths, found) if " accuracy " in line]
    assert bool(told) == fails


def test_one_row_of_a_rare_label_never_fails() -> None:
    truths = ["common"] * 999 + ["rare"]
    after = ["common"] * 1000
    found = compared(truths, truths, after, "int8")
    assert found.transformers.figures["mcc"].value - found.compiled["int8"].figures["mcc"].value == 1
    assert list(falls(tuning_task(CLASSIFIER), "int8", truths, found)) == []


def test_a_failure_names_the_ways_out_of_its_precision() -> None:
    found = CompiledCheck(1, 1, 1, Checked(), {}, ["fp32 accuracy 0.1, expected at least 0.9"], [])
    assert "set apply_ort to 'false' and serve it with transformers" in failed(found)


class Slow:
    """A model that takes a known time for a row."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.rows = seconds, 0

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        assert len(rows) == 1
        self.rows += 1
        time.sleep(self.seconds)
        return [""]


@pytest.mark.parametrize("pause", [0.001, 0.01, 0.1])
def test_the_timing_takes_as_many_rows_as_there_is_time_for(pause: float) -> None:
    models = {"slow": Slow(pause), "fast": Slow(pause / 2)}
    begun = time.perf_counter()
    rows, milliseconds = times(models, [{}] * 100, seconds=0.6)
    taken = time.perf_counter() - begun
    assert milliseconds["slow"] / 1000 == pytest.approx(pause, rel=0.5)
    assert milliseconds["fast"] < milliseconds["slow"]
    assert models["slow"].rows == models["fast"].rows >= ROUNDS * (rows + 1)
    assert 1 <= rows <= 100
    # Beside what was asked for: a first row, five to see how long one takes, and where one alone is too long, five rounds of it.
    assert taken < 0.9 + 1.5 * pause * (6 + 2 * ROUNDS)


def test_no_validation_row_is_told(make_run: Callable[..., Any], sharp_classifier: Path, tmp_path: Path) -> None:
    run = make_run(sharp_classifier)
    run.write_rows("validation", [])
    with pytest.raises(FinetuneError, match=r"validation\.jsonl: no validation rows; prepare"):
        check(run.tuned, PreparedFolder(run.prepared), run.settings, tmp_path, int8=False)
