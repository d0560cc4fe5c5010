"""The benchmark of batch scoring runs the script as Azure does, and sees what was lost or doubled."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.batch_scoring import killed, row_numbers, scored, started
from benchmarks.prediction import tenths


def test_a_file_is_scored_whole_and_after_kills(sharp_checkpoint: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"input_string": "The [MASK] sat.", "title": "cat"}) + "\n", encoding="utf-8")
    data.write_text(data.read_text(encoding="utf-8") * 3000, encoding="utf-8")
    summary, memory = scored(started(sharp_checkpoint, data, tmp_path / "whole", "fp32"))
    assert (summary["rows"], summary["failed"]) == (3000, 0)
    assert summary["seconds"] > 0
    assert max(memory) > 10
    moments = killed(sharp_checkpoint, data, tmp_path / "killed", "fp32", 2, summary["seconds"])
    assert len(moments) == 2
    assert row_numbers(tmp_path / "killed/rows.jsonl.answers.jsonl") == list(range(1, 3001))


def test_memory_is_told_by_its_tenths() -> None:
    assert tenths([*range(1, 101)]) == {"second_tenth": 15.5, "last_tenth": 94.5, "most": 100}
