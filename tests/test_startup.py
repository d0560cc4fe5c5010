"""What a BERT of the size of bert-base-cased costs to compile and to start."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asset.local.server import local_server
from benchmarks.inputs import random_base

ROOT = Path(__file__).resolve().parents[1]
SERVING_PYTHON = ROOT / ".venv/serving/bin/python"
NO_OP = "def init():\n    pass\n\n\ndef run(raw_data):\n    return []\n"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with the dimensions of bert-base-cased, random weights and a tied decoder."""
    return random_base(tmp_path_factory.mktemp("base"), ROOT / "model/embedded")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_model_of_base_size_compiles_within_15_seconds(base: Path, precision: str) -> None:
    start = time.perf_counter()
    command = [sys.executable, "-m", "serving.engine.compile", str(base), "--precision", precision]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert time.perf_counter() - start < 15


def test_a_second_start_takes_less_than_2_seconds_more_than_a_script_that_does_nothing(
    base: Path, tmp_path: Path
) -> None:
    (tmp_path / "score.py").write_text(NO_OP, encoding="utf-8")
    scripts = {"ours": ROOT / "score.py", "no-op": tmp_path / "score.py"}
    seconds: dict[str, list[float]] = {"ours": [], "no-op": []}
    with local_server(base, python=SERVING_PYTHON):
        pass  # the first start compiles, unless that was done before
    for _ in range(3):
        for name, script in scripts.items():
            start = time.perf_counter()
            with local_server(base, python=SERVING_PYTHON, entry_script=script):
                seconds[name].append(time.perf_counter() - start)
    assert statistics.median(seconds["ours"]) - statistics.median(seconds["no-op"]) < 2, seconds
