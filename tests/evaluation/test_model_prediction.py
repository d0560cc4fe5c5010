"""The command: its data, its outputs whole or not at all, its errors, its memory."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from evaluation import model_prediction
from evaluation.errors import EvaluationError
from evaluation.model_prediction import OUTPUTS, chunks, main
from evaluation.predict.predictor import columns_of
from serving.engine.engine import Engine
from serving.model.tokenizer import Passage
from tables.disk import Outputs
from tables.rows import Reject, Row

ROOT = Path(__file__).parents[2]
ROW = {"input_string": "the [MASK] sat", "title": "cat"}


# The data


@given(st.lists(st.one_of(st.none(), st.integers(0, 40))))
def test_chunks_keep_the_order_and_are_bounded(sizes: list[int | None]) -> None:
    rows = [
        Reject("a", line, "code", "") if size is None else Row("a", line, {"text": "x" * size, "n": 1})
        for line, size in enumerate(sizes)
    ]
    found = list(chunks(iter(rows), 4, 50))
    assert [row for chunk in found for row in chunk] == rows
    for chunk in found:
        lengths = [len(row.values["text"]) if isinstance(row, Row) else 0 for row in chunk]
        assert 1 <= len(chunk) <= 4
        assert sum(lengths[:-1]) < 50


def test_outputs_are_in_the_order_of_the_data_over_chunks_and_files(
    predict: Callable[..., Any],
    sharp_checkpoint: Path,
    lines: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_prediction, "CHUNK_ROWS", 7)
    folder = tmp_path / "data"
    folder.mkdir()
    texts = [line.replace("sat", "[MASK]").split(" ", n % 3)[-1] for n, line in enumerate(lines[:30])]
    for name, part in (("a", texts[:13]), ("b", texts[13:])):
        rows = [json.dumps({"input_string": text, "title": "sat"}) for text in part]
        (folder / f"{name}.jsonl").write_text("\n".join(["{", *rows]) + "\n")
    ran = predict("fill-mask", sharp_checkpoint, folder)
    assert [row["input_string"] for row in ran["predictions"]] == texts
    assert [row["line"] for row in ran["predictions"]] == [*range(2, 15), *range(2, 19)]
    assert [(row["file"], row["line"]) for row in ran["rejects"]] == [("a.jsonl", 1), ("b.jsonl", 1)]
    files = ["a.jsonl"] * 13 + ["b.jsonl"] * 17
    for output in ("predictions", "prediction_probabilities"):
        assert [row["file"] for row in ran[output]] == files
    timed = ran["performance_metadata"][:-1]
    assert [row["rows"] for row in timed] == [7, 7, 7, 7, 4]
    assert all(set(row) == {"start_time", "end_time", "rows", "seconds", "batch_size"} for row in timed)


@pytest.mark.parametrize("task", ["text-classification", "question-answering"])
def test_every_task_names_the_file_of_a_row_where_there_are_several(
    predict: Callable[..., Any], sharp_classifier: Path, sharp_reader: Path, tmp_path: Path, task: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    row = {"text": "the cat", "label": "bad", "question": "Who sat?", "context": "The cat sat.", "answers": "cat"}
    for name in ("a", "b"):
        (folder / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    model = sharp_classifier if task == "text-classification" else sharp_reader
    ran = predict(task, model, folder)
    for output in ("predictions", "prediction_probabilities"):
        assert [(row["file"], row["line"]) for row in ran[output]] == [("a.jsonl", 1), ("b.jsonl", 1)]
    ran = predict(task, model, folder / "a.jsonl")
    assert "file" not in ran["predictions"][0] | ran["prediction_probabilities"][0]


def test_an_mltable_is_read_as_what_it_describes(
    predict: Callable[..., Any], sharp_checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "table"
    folder.mkdir()
    (folder / "MLTable").write_text(
        "type: mltable\npaths:\n  - pattern: ./*.txt\ntransformations:\n  - read_delimited:\n      delimiter: ';'\n"
    )
    (folder / "rows.txt").write_text("masked;word\nthe [MASK] sat;cat\n")
    columns = ["--input-column-names", "masked", "--label-column-name", "word"]
    ran = predict("fill-mask", sharp_checkpoint, folder, *columns)
    assert ran["ground_truth"] == [{"word": "cat"}]
    assert ran["predictions"][0]["input_string"] == "the [MASK] sat"


def test_column_names_are_those_of_the_task_or_those_given() -> None:
    assert columns_of("fill-mask", None, None).all == ["input_string", "title"]
    assert columns_of("fill-mask", "", " ").all == ["input_string", "title"]
    assert columns_of("text-classification", None, None).all == ["text", "label"]
    assert columns_of("question-answering", None, None).all == ["question", "context", "answers"]
    assert columns_of("text-classification", "a, b", "c").all == ["a", "b", "c"]
    for task, names in (("fill-mask", "a,b"), ("question-answering", "a"), ("text-classification", "a,a")):
        with pytest.raises(EvaluationError, match="expected input_column_names to be"):
            columns_of(task, names, None)


# The outputs


def test_the_summary_says_what_ran(predict: Callable[..., Any], sharp_checkpoint: Path) -> None:
    summary = predict("fill-mask", sharp_checkpoint, [ROW, ROW], "--device", "cpu", "--batch-size", "1").summary
    assert summary.pop("seconds") > 0
    assert summary.pop("rows_per_second") > 0
    assert summary == {
        "summary": True,
        "task": "fill-mask",
        "model": "tiny-bert",
        "model_type": "bert",
        "precision": "fp32",
        "engine": "onnxruntime",
        "device": "cpu",
        "rows_read": 2,
        "rows_predicted": 2,
        "rows_rejected": 0,
        "windowed_rows": 0,
    }


def test_batch_size_is_the_most_rows_that_go_through_the_model_at_once(
    predict: Callable[..., Any], sharp_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    run_batch = Engine._run_batch

    def counted(self: Engine[Any], rows: Sequence[Passage]) -> list[Any]:
        batches.append(len(rows))
        return run_batch(self, rows)

    monkeypatch.setattr(Engine, "_run_batch", counted)
    long = {"input_string": "[MASK] " + "the cat " * 12, "title": "cat"}
    for rows, size, expected in (([ROW] * 9, "4", 4), ([ROW] * 200, "200", 200), ([long] * 200, "200", 1024 // 27)):
        batches.clear()
        ran = predict("fill-mask", sharp_checkpoint, rows, "--device", "cpu", "--batch-size", size)
        assert ran["performance_metadata"][0]["batch_size"] == int(size)
        assert sum(batches) == len(rows)
        assert max(batches) == expected


def test_the_component_says_that_batch_size_is_a_maximum() -> None:
    component = yaml.safe_load((ROOT / "evaluation/components/model_prediction.yml").read_text(encoding="utf-8"))
    assert component["inputs"]["batch_size"]["description"].startswith("The most rows ")


def test_without_a_gpu_the_cpu_runs_and_that_is_said(
    predict: Callable[..., Any], sharp_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ran = predict("fill-mask", sharp_checkpoint, [ROW], "--device", "gpu")
    if ran.summary["device"] == "gpu":
        pytest.skip("there is a GPU here")
    assert [record.message[:35] for record in caplog.records if record.levelname == "WARNING"] == [
        "no GPU is used, the CPU serves: the"
    ]


def test_every_reject_leaves_the_others_lines_equal_in_all_outputs(
    predict: Callable[..., Any], sharp_checkpoint: Path
) -> None:
    ran = predict("fill-mask", sharp_checkpoint, [ROW, {**ROW, "title": 5}, ROW])
    assert len(ran["ground_truth"]) == len(ran["predictions"]) == len(ran["prediction_probabilities"]) == 2


def test_where_every_row_is_rejected_it_fails_with_the_first_reasons(
    predict: Callable[..., Any], sharp_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = predict("fill-mask", sharp_checkpoint, [{**ROW, "input_string": "no gap"}] * 7)
    assert ran.status == 1
    err = capsys.readouterr().err
    assert "expected rows that can be used, found 7, all rejected:\nrows.jsonl, line 1: missing_mask: expected" in err
    assert err.count("missing_mask") == 5
    assert [path.name for path in ran.folder.iterdir()] == ["rejects.jsonl"]
    assert len(ran["rejects"]) == 7


def test_outputs_are_whole_or_not_there(tmp_path: Path) -> None:
    places = {"a": tmp_path / "new/a.jsonl", "b": tmp_path / "b.jsonl"}
    places["b"].write_text("old")
    with pytest.raises(RuntimeError), Outputs(places) as outputs:
        outputs.write("a", {"n": 1})
        raise RuntimeError
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["b.jsonl"]
    assert places["b"].read_text() == "old"
    with Outputs(places) as outputs:
        outputs.write("a", {"text": "\u00fc\u2028"})
        outputs.publish()
    assert places["a"].read_text(encoding="utf-8") == '{"text": "\u00fc\u2028"}\n'
    assert places["b"].read_text() == ""
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a.jsonl", "b.jsonl"]


def test_a_place_that_is_a_folder_gets_a_file_in_it(tmp_path: Path) -> None:
    with Outputs({"predictions": tmp_path}) as outputs:
        outputs.publish()
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]


def test_a_process_that_is_stopped_or_killed_leaves_nothing_that_looks_like_an_output(
    command: Callable[..., list[str]], predict: Callable[..., Any], sharp_checkpoint: Path, tmp_path: Path
) -> None:
    data, folder = tmp_path / "many.jsonl", tmp_path / "outputs"
    data.write_text((json.dumps(ROW) + "\n") * 200_000)
    arguments = command("fill-mask", sharp_checkpoint, data, folder)
    for sent, status in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        process = subprocess.Popen(
            [sys.executable, "-m", "evaluation.model_prediction", *arguments], cwd=ROOT, stderr=subprocess.DEVNULL
        )
        partial = folder / ".predictions.jsonl.partial"
        until = time.monotonic() + 60
        while not (partial.is_file() and partial.stat().st_size) and time.monotonic() < until:
            time.sleep(0.05)
        assert process.poll() is None
        process.send_signal(sent)
        assert process.wait() == status
        assert [path.name for path in folder.iterdir() if path.name in OUTPUTS or path.suffix == ".jsonl"] == []
        assert partial.is_file() is (sent == signal.SIGKILL)
    assert predict("fill-mask", sharp_checkpoint, [ROW]).status == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.jsonl" for name in OUTPUTS)


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--test-data", "none"], "none: expected a file or folder of test data, found nothing there"),
        (["--model", "none"], "none: expected a model folder, found no such folder"),
        (["--task", "question-answering"], r"expected columns \['question', 'context', 'answers'\], found"),
        (
            ["--task", "text-classification", "--input-column-names", "input_string", "--label-column-name", "title"],
            "expected a model for text-classification, found one for fill-mask; set task to fill-mask",
        ),
        (["--input-column-names", "text"], r"expected columns \['text', 'title'\], found \['input_string', 'title'\]"),
        (["--input-column-names", "a,b"], "expected input_column_names to be 1 different names for fill-mask"),
        (["--evaluation-config", "none"], "none"),
        (["--evaluation-config-params", '{"top_k": 0}'], "top_k"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(
    command: Callable[..., list[str]],
    sharp_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps(ROW) + "\n")
    assert main([*command("fill-mask", sharp_checkpoint, data, tmp_path / "outputs"), *options]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.match(f"model_prediction: .*{message}", err)
    assert not (tmp_path / "outputs").exists()


def test_outputs_that_cannot_be_written_are_told_in_one_line(
    command: Callable[..., list[str]], sharp_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps(ROW) + "\n")
    assert main(command("fill-mask", sharp_checkpoint, data, data / "outputs")) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.match("model_prediction: .*rows.jsonl", err)


def test_data_without_a_row_is_an_error(
    predict: Callable[..., Any], sharp_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict("fill-mask", sharp_checkpoint, []).status == 1
    assert "expected rows of test data, found none" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["0", "-1", "x"])
def test_a_batch_size_is_a_positive_number(
    command: Callable[..., list[str]], sharp_checkpoint: Path, tmp_path: Path, size: str
) -> None:
    with pytest.raises(SystemExit):
        main([*command("fill-mask", sharp_checkpoint, tmp_path, tmp_path), "--batch-size", size])


# Memory


PEAK = """
import resource, sys
from evaluation import model_prediction
model_prediction.CHUNK_ROWS = 512
chunks = model_prediction.chunks
seen = []
def watched(rows, *most):
    for chunk in chunks(rows, *most):
        yield chunk
        seen.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
model_prediction.chunks = watched
status = model_prediction.main(sys.argv[1:])
assert not {"torch", "transformers", "pandas", "pyarrow"} & set(sys.modules)
print(len(seen), seen[2], seen[-1])
sys.exit(status)
"""

GROWTH_MB = 8
"""What the peak of memory may grow by between the third chunk and the last: nothing but the allocator's play."""


def test_memory_stays_flat_over_ten_thousand_rows(
    command: Callable[..., list[str]], sharp_checkpoint: Path, lines: list[str], tmp_path: Path
) -> None:
    data = tmp_path / "rows.jsonl"
    rows = [json.dumps({"input_string": line.replace("sat", "[MASK]"), "title": "sat"}) + "\n" for line in lines[:500]]
    data.write_text("".join(rows) * 20)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = command("fill-mask", sharp_checkpoint, data, tmp_path / "outputs")
    found = subprocess.run(
        [sys.executable, "-c", PEAK, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    count, warm, last = map(int, found.stdout.split())
    assert count == 20
    assert (last - warm) / 1024 < GROWTH_MB
    lines = (tmp_path / "outputs/performance_metadata.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["rows_predicted"] == 10_000
