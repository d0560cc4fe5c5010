"""A disk that is full or read-only: it is told in one line, nothing half written looks whole, and with room the command goes on."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from azure.ai.ml.entities._load_functions import load_model_batch_deployment

from asset.local.batch.run import run_batch
from asset.local.batch.settings import BatchSettings
from asset.local.server import local_server
from serving.engine.compile import compiled
from serving.engine.compile import main as compile_main
from tests.small_disk import SmallDisk

ROOT = Path(__file__).resolve().parents[1]
EMBEDDED = ROOT / "model/embedded"
SERVING_PYTHON = ROOT / ".venv/serving/bin/python"
OUTPUTS = ("predictions", "prediction_probabilities", "ground_truth", "performance_metadata", "rejects")
PARIS = b'{"input_data": ["Paris is the [MASK] of France."]}'


def test_a_model_is_compiled_into_memory_where_the_cache_is_full_and_kept_once_there_is_room(
    checkpoint: Path, small_disk: SmallDisk, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    small_disk.fill(room=1 << 14)
    caplog.set_level(logging.INFO)
    assert isinstance(compiled(checkpoint, "fp32", small_disk.path), bytes)
    assert f"cannot keep the compiled model in {small_disk.path}: No space left on device" in caplog.text
    assert "the compiled model cannot be kept, so each start compiles it" in caplog.text
    assert compile_main([str(checkpoint), "--precision", "fp32", "--cache-dir", str(small_disk.path)]) == 1
    assert capsys.readouterr().err.endswith(
        "the compiled model cannot be kept; name a folder that can be written with --cache-dir\n"
    )
    assert [path.name for path in small_disk.path.iterdir()] == ["ballast"]
    small_disk.free()
    kept = compiled(checkpoint, "fp32", small_disk.path)
    assert isinstance(kept, Path) and [kept.name] == small_disk.names


def test_a_model_on_a_read_only_disk_is_served(
    checkpoint: Path, small_disk: SmallDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(shutil.copytree(checkpoint, small_disk.path / "tiny", ignore=shutil.ignore_patterns(".compiled")))
    small_disk.make_read_only()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kept = compiled(model, "fp32")
    assert isinstance(kept, Path) and kept.parent == tmp_path / "cache/bert-serving"
    assert compiled(model, "fp32") == kept
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk.path))
    assert isinstance(compiled(model, "fp32"), bytes)
    environment = {"XDG_CACHE_HOME": str(small_disk.path), "BERT_SERVING_PRECISION": "fp32"}
    with local_server(model, python=SERVING_PYTHON, env=environment) as server:
        assert server.post(b'{"input_data": ["The [MASK] sat."]}').status == 200


def test_a_server_whose_cache_and_log_are_on_a_full_disk_serves(
    small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk.path))  # where the server's log goes
    settings = {"BERT_SERVING_CACHE_DIR": str(small_disk.path / "cache")}
    with local_server(EMBEDDED, python=SERVING_PYTHON, env=settings) as server:
        small_disk.fill()
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda _: server.post(PARIS), range(200)))
        assert small_disk.is_full
        assert {(reply.status, reply.body) for reply in replies} == {(200, b'["capital"]')}
        assert server.post(b"{").status == 400
        small_disk.free()
        written = server.log.stat().st_size
        assert server.post(PARIS).status == 200
        assert server.log.stat().st_size > written


def test_predictions_that_find_no_room_are_told_and_none_looks_whole(
    sharp_checkpoint: Path, small_disk: SmallDisk, tmp_path: Path
) -> None:
    data = tmp_path / "rows.jsonl"
    rows = [{"input_string": f"The cat sat on the [MASK] {number}.", "title": "mat"} for number in range(2000)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    outputs = small_disk.path / "outputs"
    arguments = ["-m", "evaluation.model_prediction", "--task", "fill-mask", "--model", str(sharp_checkpoint)]
    arguments += ["--test-data", str(data), "--precision", "fp32"]
    for name in OUTPUTS:
        arguments += [f"--{name.replace('_', '-')}", str(outputs / f"{name}.jsonl")]

    def predict() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)

    small_disk.fill(room=1 << 16)
    done = predict()
    told = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert told.startswith("model_prediction: ") and "No space left on device" in told
    assert "Traceback" not in done.stderr
    assert [name for name in small_disk.names if name.endswith(".jsonl")] == []
    small_disk.free()
    assert predict().returncode == 0
    assert len((outputs / "predictions.jsonl").read_text(encoding="utf-8").splitlines()) == len(rows)


def test_a_batch_that_finds_no_room_calls_no_file_done_that_is_not_and_goes_on_once_there_is(
    sharp_checkpoint: Path, small_disk: SmallDisk, tmp_path: Path
) -> None:
    deployment = load_model_batch_deployment(ROOT / "deployment/batch-deployment.yml")
    python = ROOT / ".venv/batch/bin/python"
    settings = BatchSettings.of(deployment, ROOT, "deployment/batch_score.py", python, sharp_checkpoint)
    settings = replace(settings, variables={"BERT_SERVING_CACHE_DIR": str(tmp_path / "cache")})
    (tmp_path / "in").mkdir()
    for name, count in (("a", 10), ("b", 30_000)):
        (tmp_path / f"in/{name}.txt").write_text("The [MASK] sat on the mat.\n" * count, encoding="utf-8")
    output = small_disk.path / "out"
    small_disk.fill(room=1 << 18)
    result = run_batch(tmp_path / "in", output, settings, log=tmp_path / "log")
    assert (result.succeeded, result.failed) == (0, 2)
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert "No space left on device" in log
    assert not (output / "b.txt.summary.json").exists()
    small_disk.free()
    result = run_batch(tmp_path / "in", output, settings, log=tmp_path / "log")
    assert (result.succeeded, result.failed) == (2, 0)
    answers = [json.loads(line) for line in (output / "b.txt.answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [answer["row"] for answer in answers] == list(range(1, 30_001))
    assert os.listdir(output / ".unfinished") == [] if (output / ".unfinished").exists() else True
