"""The benchmark of training: both sides train the same rows, and the report says what each round gave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import training
from finetune.prepare.prepared import PreparedFolder

ROWS = [{"text": f"The cat sat on mat number {number}.", "label": "ab"[number % 2]} for number in range(40)]


def test_what_is_prepared_is_a_prepared_folder(checkpoint: Path, tmp_path: Path) -> None:
    training.prepare(tmp_path / "prepared", checkpoint, ROWS, {"max_steps": 3})
    folder = PreparedFolder(tmp_path / "prepared")
    settings = folder.settings()
    assert (settings.labels, settings.training.max_steps) == (["a", "b"], 3)
    assert len(list(folder.rows("train"))) == settings.data["train"].rows == 40


def test_each_round_times_both(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    options = ["--steps", "4", "--batch-size", "8", "--rounds", "1", "--threads", "1", "--precision", "32"]
    assert training.main(["--model", str(checkpoint), "--data", str(data), *options]) == 0
    report = json.loads(capsys.readouterr().out)
    (only,) = report["rounds"]
    assert report["times_the_plain"] == pytest.approx(only["ours"] / only["plain"])
    assert min(only.values()) > 0
