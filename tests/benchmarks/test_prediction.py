"""The benchmark of predictions runs what the job runs."""

from __future__ import annotations

from pathlib import Path

import yaml

from benchmarks.prediction import ROOT, command
from evaluation import model_prediction


def test_the_command_is_the_jobs_with_its_configuration(tmp_path: Path) -> None:
    given = command(tmp_path / "model", tmp_path / "rows.jsonl", tmp_path)
    found = model_prediction.parser().parse_args(given[3:])
    job = yaml.safe_load((ROOT / "evaluation/evaluate-model-fill-mask.yml").read_text(encoding="utf-8"))
    assert found.evaluation_config == (ROOT / "evaluation" / job["inputs"]["evaluation_config"]["path"]).resolve()
    assert found.task == job["inputs"]["task"]
