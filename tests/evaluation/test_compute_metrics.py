"""compute_metrics end to end: files in, metrics.json, report.html, a table and MLflow out; and one line on bad input."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from azure.ai.ml import load_component

from evaluation import compute_metrics
from evaluation.metrics import squad

ROOT = Path(__file__).resolve().parents[2]
XQUAD = ROOT.parent / "shared" / "data" / "xquad_en_validation.jsonl"


@pytest.fixture(autouse=True)
def untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log to MLflow in the test that is about it only."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    file = folder / name / "rows.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def mask(label_probability: float, rank: int | None, best: float, found: bool) -> dict[str, Any]:
    pieces = 1 if rank else 2
    shares = {"label_probability": label_probability, "label_rank": rank, "best_probability": best}
    return {**shares, "label_pieces": pieces, "found": found, "exact": found, "position": 1, "words": 6}


FILL_MASK = {
    "ground_truth": [{"title": "capital"}, {"title": "bassoon"}, {"title": ["a", "b"]}],
    "prediction": [
        {
            "predictions": "capital",
            "line": 1,
            "input_string": "Paris is the [MASK] of France.",
            "top": [["capital", 0.8], ["heart", 0.1], ["king", 0.02], ["city", 0.01], ["end", 0.01]],
        },
        {
            "predictions": "violin",
            "line": 3,
            "input_string": "She plays the [MASK].",
            "top": [["violin", 0.5], ["piano", 0.1], ["guitar", 0.02], ["flute", 0.01], ["game", 0.01]],
        },
        {
            "predictions": ["a", "c"],
            "line": 4,
            "input_string": "[MASK] then [MASK]",
            "top": [[["a", 0.3], *[["x", 0.1]] * 4], [["c", 0.3], ["b", 0.2], *[["x", 0.1]] * 3]],
        },
    ],
    "prediction_probabilities": [
        {"line": 1, "masks": [mask(0.8, 1, 0.8, True)], "pll": -9.0, "pll_l2r": -10.0, "pll_tokens": 7, "pll_words": 7},
        {"line": 3, "masks": [mask(0.01, None, 0.5, False)], "pll": None, "pll_l2r": None},
        {"line": 4, "masks": [mask(0.3, 1, 0.3, True), mask(0.2, 2, 0.3, False)]},
    ],
    "performance_metadata": [
        {"start_time": "2026-01-01T00:00:00Z", "rows": 3, "seconds": 0.1},
        {
            "summary": True,
            "task": "fill-mask",
            "model": "tiny",
            "precision": "int8",
            "device": "cpu",
            "rows_read": 4,
            "rows_rejected": 1,
        },
    ],
    "rejects": [{"line": 2, "file": "a.jsonl", "code": "missing_mask", "message": "expected [MASK]"}],
}
CLASSIFIED = {
    "ground_truth": [{"label": label} for label in ("POSITIVE", "NEGATIVE", "NEGATIVE")],
    "prediction": [
        {"predictions": label, "line": n, "text": f"text {n}"}
        for n, label in enumerate(("POSITIVE", "NEGATIVE", "POSITIVE"), 1)
    ],
    "prediction_probabilities": [
        {"line": n, "probabilities": {"NEGATIVE": 1 - share, "POSITIVE": share}}
        for n, share in enumerate((0.9, 0.2, 0.7), 1)
    ],
}
CATS = [["Cat", 0.9], ["a cat", 0.05], ["cat sat", 0.02]]
ANSWERED = {
    "ground_truth": [{"answers": {"text": ["the cat"], "answer_start": [0]}}, {"answers": "a dog"}],
    "prediction": [
        {"predictions": "Cat", "line": 1, "question": "Who?", "context": "the cat sat", "top": CATS},
        {"predictions": "bird", "line": 2, "question": "What?", "context": "a dog sat"},
    ],
    "prediction_probabilities": [
        {"line": 1, "score": 0.9, "start": 4, "end": 7},
        {"line": 2, "score": 1.1, "start": 0, "end": 3},
    ],
}


def arguments(folder: Path, task: str, files: dict[str, list[dict[str, Any]]], *more: str) -> list[str]:
    """Write the files, each in a folder of its own as Azure ML gives them, and return the command's arguments."""
    named = [
        text
        for name, rows in files.items()
        for text in (f"--{name.replace('_', '-')}", str(write(folder, name, rows).parent))
    ]
    return ["--task", task, *named, "--output", str(folder / "result"), *more]


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result" / "metrics.json").read_text(encoding="utf-8"))


def values(metrics: dict[str, Any]) -> dict[str, float]:
    return {metric["name"]: metric["value"] for metric in metrics["metrics"]}


def test_fill_mask_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = '{"bootstrap_samples": 200, "model_id": "gpt2"}'
    assert compute_metrics.main(arguments(tmp_path, "fill-mask", FILL_MASK, "--evaluation-config-params", params)) == 0
    found = result(tmp_path)
    assert list(found) == [
        "task", "model", "data", "settings", "metrics", "left_out", "slices", "plots", "examples"
    ]  # fmt: skip
    assert found["task"] == "fill-mask"
    assert found["model"] == {
        "task": "fill-mask", "model": "tiny", "precision": "int8", "device": "cpu", "rows_read": 4, "rows_rejected": 1
    }  # fmt: skip
    assert found["data"] == {"rows": 3, "masks": 4, "one_piece_masks": 3, "several_pieces_masks": 1, "rejected": 1}
    assert found["settings"] == {"bootstrap_samples": 200, "confidence": 0.95, "seed": 17, "ece_bins": 10}
    figures = values(found)
    assert figures["accuracy@1"] == 0.5
    assert figures["accuracy@5"] == 0.75
    assert figures["exact_accuracy@5"] == 0.75
    assert figures["mean_reciprocal_rank"] == pytest.approx(2.5 / 4)
    assert figures["perplexity"] == pytest.approx((0.8 * 0.01 * 0.3 * 0.2) ** -0.25)
    assert figures["pseudo_perplexity"] == pytest.approx(2.718281828 ** (9 / 7))
    assert found["left_out"] == []
    assert [example["line"] for example in found["examples"]["worst"]] == [3, 4]
    assert found["examples"]["worst"][1]["mask"] == 2
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "fill-mask, tiny int8 cpu: 3 rows, 1 rejected"
    assert lines[1].endswith("95 % interval")
    assert lines[2].split()[:3] == ["accuracy@1", "50.0", "%"]
    assert [line.split()[0] for line in lines[2:-1]] == [m["name"] for m in found["metrics"] if m["headline"]]
    assert lines[-1] == "wrote metrics.json and report.html"
    assert (tmp_path / "result" / "report.html").read_text(encoding="utf-8").lstrip().startswith("<")
    assert err == "compute_metrics: model_id in the configuration has no effect here\n"
    assert sorted(file.name for file in (tmp_path / "result").iterdir()) == ["metrics.json", "report.html"]


def test_every_headline_of_metrics_json_has_what_a_report_needs(tmp_path: Path) -> None:
    for task, files in (
        ("fill-mask", FILL_MASK),
        ("text-classification", CLASSIFIED),
        ("question-answering", ANSWERED),
    ):
        assert compute_metrics.main(arguments(tmp_path, task, files)) == 0
        found = result(tmp_path)
        for metric in found["metrics"]:
            assert {
                "name",
                "value",
                "low",
                "high",
                "rows",
                "unit",
                "better",
                "headline",
                "definition",
                "source",
            } == set(metric)
            assert metric["low"] is None or metric["low"] <= metric["value"] <= metric["high"]
        for part in found["slices"]:
            assert {"by", "name", "metric", "value", "low", "high", "rows"} == set(part)
            assert part["metric"] in values(found)
        for example in found["examples"]["best"] + found["examples"]["worst"]:
            assert {"line", "input", "expected", "predicted", "top", "score"} <= set(example)


def test_text_classification_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compute_metrics.main(arguments(tmp_path, "text-classification", CLASSIFIED)) == 0
    found = result(tmp_path)
    assert found["model"] is None
    assert found["data"] == {"rows": 3, "rejected": None}
    assert values(found)["accuracy"] == pytest.approx(2 / 3)
    assert found["plots"]["confusion"] == {"labels": ["NEGATIVE", "POSITIVE"], "counts": [[1, 1], [0, 1]]}
    assert found["examples"]["worst"] == [
        {
            "line": 3,
            "input": "text 3",
            "expected": "NEGATIVE",
            "predicted": "POSITIVE",
            "top": [["POSITIVE", 0.7], ["NEGATIVE", pytest.approx(0.3)]],
            "score": 0.7,
        }
    ]
    out, err = capsys.readouterr()
    assert out.startswith("text-classification: 3 rows\n")
    assert err == ""


def test_question_answering_end_to_end(tmp_path: Path) -> None:
    assert compute_metrics.main(arguments(tmp_path, "question-answering", ANSWERED)) == 0
    found = result(tmp_path)
    error = pytest.approx((0.1 + 1) / 2)  # a score of 1.1 counts as 1
    assert values(found) == {"exact_match": 0.5, "f1": 0.5, "expected_calibration_error": error}
    assert [(b["confidence"], b["accuracy"]) for b in found["plots"]["reliability"]["bins"]] == [(0.9, 1), (1, 0)]
    assert found["examples"]["best"][0]["top"] == [["Cat", 0.9], ["a cat", 0.05], ["cat sat", 0.02]]
    assert found["examples"]["best"][0]["right"] == [True, True, False]
    assert found["examples"]["worst"][0]["top"] == []
    assert found["plots"]["histogram"]["counts"] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert found["examples"]["best"][0]["expected"] == "the cat"
    assert found["examples"]["worst"][0]["input"] == "What?\na dog sat"


@pytest.mark.skipif(not XQUAD.is_file(), reason=f"no {XQUAD.name} beside this checkout (../shared/data)")
def test_xquad_gets_the_means_of_squads_scores(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in XQUAD.read_text(encoding="utf-8").splitlines()]
    predicted = [
        {"predictions": row["answers"]["text"][0].upper() if n % 3 else f"{row['answers']['text'][0]} and so on"}
        for n, row in enumerate(rows)
    ]
    truth = [{"answers": row["answers"]} for row in rows]
    files = {"ground_truth": truth, "prediction": predicted}
    assert compute_metrics.main(arguments(tmp_path, "question-answering", files)) == 0
    pairs = [(line["predictions"], row["answers"]["text"]) for line, row in zip(predicted, rows, strict=True)]
    assert values(result(tmp_path)) == pytest.approx(
        {
            "exact_match": sum(squad.exact_match(*pair) for pair in pairs) / len(rows),
            "f1": sum(squad.f1(*pair) for pair in pairs) / len(rows),
        }
    )


def test_files_of_one_column_are_enough_for_what_they_allow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"ground_truth": [{"truth": "cat"}, {"truth": "dog"}], "prediction": [{"text": "cat"}, {"text": "cat"}]}
    assert compute_metrics.main(arguments(tmp_path, "fill-mask", files)) == 0
    found = result(tmp_path)
    assert values(found) == {"exact_accuracy@1": 0.5}
    reasons = {left_out["name"]: left_out["reason"] for left_out in found["left_out"]}
    assert reasons["accuracy@1"] == "takes prediction_probabilities, which were not given"
    told = capsys.readouterr().err.splitlines()
    assert told == [f"compute_metrics: left out {name}: {reason}" for name, reason in reasons.items()]


@pytest.mark.parametrize(
    ("task", "files"),
    [("fill-mask", FILL_MASK), ("text-classification", CLASSIFIED), ("question-answering", ANSWERED)],
)
def test_examples_say_which_of_several_files_they_are_in(
    tmp_path: Path, task: str, files: dict[str, list[dict[str, Any]]]
) -> None:
    parts = ("prediction", "prediction_probabilities")
    placed = {part: [{**row, "file": f"{row['line']}/data.csv"} for row in files[part]] for part in parts}
    assert compute_metrics.main(arguments(tmp_path, task, {**files, **placed})) == 0
    examples = [example for kind in result(tmp_path)["examples"].values() for example in kind]
    assert len(examples) >= 2
    assert all(example["file"] == f"{example['line']}/data.csv" for example in examples)


def test_rows_of_different_files_are_not_taken_for_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = (("prediction", "x"), ("prediction_probabilities", "y"))
    placed = {part: [{**row, "file": f"{name}/data.csv"} for row in CLASSIFIED[part]] for part, name in parts}
    assert compute_metrics.main(arguments(tmp_path, "text-classification", {**CLASSIFIED, **placed})) == 1
    assert_one_line(
        capsys, "line 1: expected the row of file x/data.csv, as in prediction, found y/data.csv; take both files from"
    )


def test_a_column_may_be_named(tmp_path: Path) -> None:
    files = {
        "ground_truth": [{"id": 1, "label": "a"}, {"id": 2, "label": "b"}],
        "prediction": [{"id": 1, "best": "a"}, {"id": 2, "best": "b"}],
    }
    columns = ["--ground-truth-column-name", "label", "--prediction-column-name", "best"]
    assert compute_metrics.main(arguments(tmp_path, "text-classification", files, *columns)) == 0
    assert values(result(tmp_path))["accuracy"] == 1


def test_a_file_is_taken_as_it_is_and_blank_lines_are_none(tmp_path: Path) -> None:
    truth, predicted = tmp_path / "truth.jsonl", tmp_path / "predicted.jsonl"
    truth.write_bytes(b'\xef\xbb\xbf{"label": "a"}\r\n\r\n{"label": "b\xe2\x80\xa8"}')
    predicted.write_text('{"predictions": "a"}\n{"predictions": "b\\u2028"}\n\n', encoding="utf-8")
    options = ["--ground-truth", str(truth), "--prediction", str(predicted), "--output", str(tmp_path / "result")]
    assert compute_metrics.main(["--task", "text-classification", *options]) == 0
    assert values(result(tmp_path))["accuracy"] == 1


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("prediction", "{", "prediction/rows.jsonl, line 2: expected a JSON object, found: Expecting"),
        ("ground_truth", "[1]", r"ground_truth/rows.jsonl, line 2: expected a JSON object, found \[1\]"),
        ("ground_truth", '{"other": 1}', r"line 2: expected column 'label', found \['other'\]; every line needs it"),
        ("ground_truth", '{"label": null}', "ground_truth/rows.jsonl, line 2: expected a label, .* found null"),
        (
            "prediction_probabilities",
            '{"line": 9, "probabilities": {"NEGATIVE": 1, "POSITIVE": 0}}',
            "prediction_probabilities/rows.jsonl, line 2: expected the row of line 2, as in prediction, found 9; take",
        ),
        (
            "prediction_probabilities",
            '{"line": 2, "probabilities": {"NEGATIVE": "1"}}',
            'prediction_probabilities/rows.jsonl, line 2: expected .NEGATIVE. to be a number from 0 to 1, found "1"',
        ),
    ],
)
def test_bad_input_is_one_line_that_names_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, text: str, message: str
) -> None:
    command = arguments(tmp_path, "text-classification", CLASSIFIED)
    file = tmp_path / part / "rows.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines()
    lines[1] = text
    file.write_text("\n".join(lines), encoding="utf-8")
    assert compute_metrics.main(command) == 1
    assert_one_line(capsys, message)
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize(
    ("part", "change", "counts"),
    [
        (
            "prediction",
            lambda lines: lines[:2],
            "found 2 in .*/prediction/rows.jsonl and 3 in .*/ground_truth/rows.jsonl",
        ),
        ("prediction_probabilities", lambda lines: [*lines, "{}", "{}"], "found 5 in .* and 3 in"),
        ("ground_truth", lambda lines: lines[:1], "found 3 in .* and 1 in"),
    ],
)
def test_files_of_different_lengths_are_told_with_both_counts(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    part: str,
    change: Callable[[list[str]], list[str]],
    counts: str,
) -> None:
    command = arguments(tmp_path, "text-classification", CLASSIFIED)
    file = tmp_path / part / "rows.jsonl"
    file.write_text("\n".join(change(file.read_text(encoding="utf-8").splitlines())), encoding="utf-8")
    assert compute_metrics.main(command) == 1
    other = "prediction" if part == "ground_truth" else part
    assert_one_line(capsys, f"expected as many rows in {other} as in ground_truth, {counts}")


def assert_one_line(capsys: pytest.CaptureFixture[str], message: str) -> None:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert re.match(f"compute_metrics: .*{message}", err), err


@pytest.mark.parametrize(
    ("files", "more", "message"),
    [
        ({"ground_truth": [], "prediction": []}, [], "ground_truth/rows.jsonl: expected a row a line, found no row"),
        (
            {"ground_truth": [{"a": 1, "b": 2}], "prediction": [{"a": 1}]},
            [],
            r"line 1: expected one column, found \['a', 'b'\]; name it with ground_truth_column_name or prediction_col",
        ),
        (
            {"ground_truth": [{"a": 1}], "prediction": [{"a": 1}]},
            ["--prediction-column-name", "best"],
            r"prediction/rows.jsonl, line 1: expected column 'best', found \['a'\]",
        ),
        (
            {"ground_truth": [{"label": "1"}], **{part: CLASSIFIED[part][:1] for part in list(CLASSIFIED)[1:]}},
            [],
            "ground_truth/rows.jsonl: expected labels of the model",
        ),
        (CLASSIFIED, ["--evaluation-config-params", '{"sede": 1}'], "evaluation_config_params: unknown key 'sede'"),
        (CLASSIFIED, ["--evaluation-config", "none.json"], "none.json: expected a file of JSON that can be read"),
        (CLASSIFIED, ["--rejects", "none.jsonl"], "none.jsonl: expected a file that can be read, found: No such file"),
        (
            {**CLASSIFIED, "performance_metadata": FILL_MASK["performance_metadata"]},
            [],
            "expected a run of text-classification, found a run of fill-mask; set task to fill-mask",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, list[dict[str, Any]]],
    more: list[str],
    message: str,
) -> None:
    assert compute_metrics.main(arguments(tmp_path, "text-classification", files, *more)) == 1
    assert_one_line(capsys, message)
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        ({"seconds": float("nan")}, "expected numbers that metrics.json can hold, found: .*NaN"),
        ({"rows_rejected": "many"}, "expected metrics.json .*, found data.rejected: .*; correct it in predictions or"),
    ],
)
def test_figures_that_cannot_be_told_are_one_line_and_leave_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], summary: dict[str, Any], message: str
) -> None:
    files = {**CLASSIFIED, "performance_metadata": [{"summary": True, **summary}]}
    assert compute_metrics.main(arguments(tmp_path, "text-classification", files)) == 1
    assert_one_line(capsys, message)
    assert not (tmp_path / "result").exists()


def test_an_input_that_cannot_be_looked_at_is_named_and_not_the_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = tmp_path / ("x" * 300)  # no file system has such a name, whoever asks
    command = arguments(tmp_path, "text-classification", CLASSIFIED, "--rejects", str(long))
    assert compute_metrics.main(command) == 1
    assert_one_line(capsys, "x{300}: expected a file or folder that can be read, found: File name too long")


def test_half_a_letter_is_written_and_read_again(tmp_path: Path) -> None:
    files = {**ANSWERED, "prediction": [{**row, "question": "\ud800"} for row in ANSWERED["prediction"]]}
    assert compute_metrics.main(arguments(tmp_path, "question-answering", files)) == 0
    assert result(tmp_path)["examples"]["worst"][0]["input"] == "\ud800\na dog sat"


def test_a_folder_of_several_files_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = arguments(tmp_path, "text-classification", CLASSIFIED)
    (tmp_path / "prediction" / "more.jsonl").touch()
    assert compute_metrics.main(command) == 1
    assert_one_line(capsys, "prediction: expected one file of JSON lines in the folder, found more.jsonl, rows.jsonl")


def test_a_result_is_written_whole_or_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = arguments(tmp_path, "text-classification", CLASSIFIED)
    assert compute_metrics.main(command) == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "result").iterdir()}
    capsys.readouterr()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert compute_metrics.main([*command, "--evaluation-config-params", '{"seed": 3}']) == 1
    assert_one_line(capsys, "result: expected a folder to write to, found: No space left on device")
    assert {file.name: file.read_bytes() for file in (tmp_path / "result").iterdir()} == before


# MLflow


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """Set up a store in SQLite with an experiment, as a runner would."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "evaluation")
    client = mlflow.MlflowClient(uri)
    client.create_experiment("evaluation", (tmp_path / "artifacts").as_uri())
    return client


def runs(client: mlflow.MlflowClient) -> list[Any]:
    return client.search_runs([client.get_experiment_by_name("evaluation").experiment_id])


def test_figures_and_files_are_logged_to_mlflow(
    tmp_path: Path, store: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = arguments(tmp_path, "fill-mask", FILL_MASK)
    assert compute_metrics.main(command) == 0
    expected = {name.replace("@", "_at_"): value for name, value in values(result(tmp_path)).items()}
    (own,) = runs(store)
    assert own.data.metrics == expected
    assert own.info.status == "FINISHED"
    assert [file.path for file in store.list_artifacts(own.info.run_id)] == ["metrics.json", "report.html"]

    given = store.create_run(own.info.experiment_id).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    assert compute_metrics.main(command) == 0
    assert len(runs(store)) == 2
    run = store.get_run(given)
    assert run.data.metrics == expected
    assert run.info.status == "RUNNING"  # whoever started it ends it
    assert len(store.list_artifacts(given)) == 2


def test_without_a_store_nothing_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert compute_metrics.main(arguments(tmp_path, "question-answering", ANSWERED)) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [*sorted(ANSWERED), "result"]


def test_a_store_that_takes_nothing_is_told_and_the_files_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://")
    assert compute_metrics.main(arguments(tmp_path, "question-answering", ANSWERED)) == 1
    out, err = capsys.readouterr()
    assert out.endswith("report.html\n")
    assert re.match(r"compute_metrics: MLflow did not accept the results: .*nowhere[^\n]*\n", err)
    assert result(tmp_path)["task"] == "question-answering"


# The component

PUBLIC_INPUTS = {
    "task": "string",
    "ground_truth": "uri_folder",
    "ground_truth_column_name": "string",
    "prediction": "uri_folder",
    "prediction_column_name": "string",
    "prediction_probabilities": "uri_folder",
    "evaluation_config": "uri_file",
    "evaluation_config_params": "string",
}


def test_the_component_has_the_public_ports_and_its_command_is_understood(tmp_path: Path) -> None:
    component = load_component(ROOT / "evaluation" / "components" / "compute_metrics.yml")
    assert component._validate().passed
    types = {name: port["type"] for name, port in component.inputs.items()}
    assert types == {**PUBLIC_INPUTS, "performance_metadata": "uri_file", "rejects": "uri_file"}
    required = {name for name, port in component.inputs.items() if not port.get("optional")}
    assert required == {"task", "ground_truth", "prediction"}
    assert list(component.outputs) == ["evaluation_result"]
    command = component.command.replace("$[[", "").replace("]]", "")
    value = re.sub(
        r"\$\{\{inputs\.(\w+)\}\}", lambda port: "fill-mask" if port[1] == "task" else f"/in/{port[1]}", command
    )
    words = shlex.split(value.replace("${{outputs.evaluation_result}}", "/out"))
    assert words[:3] == ["python", "-m", "evaluation.compute_metrics"]
    args = vars(compute_metrics.parser().parse_args(words[3:]))
    assert {name: str(value) for name, value in args.items() if name != "output"} == {
        name: "fill-mask" if name == "task" else f"/in/{name}" for name in types
    }
    assert args["output"] == Path("/out")


def test_it_runs_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from evaluation.compute_metrics import main; status = main(sys.argv[1:])\n"
        "assert not {'torch', 'transformers', 'mlflow'} & set(sys.modules); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, *arguments(tmp_path, "fill-mask", FILL_MASK)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("fill-mask, tiny int8 cpu: 3 rows, 1 rejected\n")
