"""Score files with the script of batch deployments, in this process."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from deployment import batch_file, batch_score
from tests.deployment.scoring import Scored


@pytest.fixture
def score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Scored]]:
    """Return what scores files as Azure's batch runtime does, given a model, the files, and options by name.

    Files below tmp_path/in are named from there. Chunks are of 7 rows, and each is a part.
    """
    monkeypatch.setattr(batch_file, "CHUNK_ROWS", 7)
    loggers = {name: logging.getLogger(name) for name in ("deployment", "serving")}
    before = {name: (logger.level, logger.handlers, logger.propagate) for name, logger in loggers.items()}

    def run(model: Path, files: Sequence[Path], output: Path = tmp_path / "out", **options: str) -> Scored:
        monkeypatch.setenv("AZUREML_MODEL_DIR", str(model))
        monkeypatch.setenv("AZUREML_BI_OUTPUT_PATH", str(output))
        monkeypatch.setenv("BERT_SERVING_PRECISION", "fp32")
        for name, value in {"INPUT_FOLDER": str(tmp_path / "in"), "PART_SECONDS": "0", **options}.items():
            monkeypatch.setenv(f"BATCH_SCORING_{name}", value)
        batch_score.init()
        return Scored(output, [json.loads(line) for line in batch_score.run([str(file) for file in files])])

    yield run
    for name, (level, handlers, propagate) in before.items():
        loggers[name].level, loggers[name].handlers, loggers[name].propagate = level, handlers, propagate
        loggers[name].setLevel(level)


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Return what writes an input file, given its name and its rows, text or bytes."""

    def write(name: str, content: list[Any] | str | bytes) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write
