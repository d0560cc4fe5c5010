"""What tests of predictions share: a run of the command, and its outputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evaluation.model_prediction import OUTPUTS, main
from evaluation.predict.likelihood import LabelHead, MaskScore
from serving.engine.engine import Engine, open_engine, open_folder
from serving.model.tokenizer import MaskTokenizer
from serving.settings import Settings


@dataclass(frozen=True)
class Ran:
    """A run's exit status and where its outputs are."""

    status: int
    folder: Path

    def __getitem__(self, output: str) -> list[dict[str, Any]]:
        """Return an output's rows."""
        lines = (self.folder / f"{output}.jsonl").read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1]]

    @property
    def summary(self) -> dict[str, Any]:
        return self["performance_metadata"][-1]

    @property
    def codes(self) -> list[tuple[int, str]]:
        return [(reject["line"], reject["code"]) for reject in self["rejects"]]


@pytest.fixture(scope="session")
def command() -> Callable[[str, Path, Path, Path], list[str]]:
    """Return a command line for a task, a model and data, in fp32, with all outputs in a folder."""

    def build(task: str, model: Path, data: Path, folder: Path) -> list[str]:
        given = ["--task", task, "--model", str(model), "--test-data", str(data), "--precision", "fp32"]
        outputs = ((f"--{name.replace('_', '-')}", str(folder / f"{name}.jsonl")) for name in OUTPUTS)
        return [*given, *(part for output in outputs for part in output)]

    return build


@pytest.fixture(scope="session")
def open_scorer() -> Callable[[Path], tuple[MaskTokenizer, Engine[list[MaskScore]]]]:
    """Open the tokenizer of a masked-language model and the engine that scores one label a mask, in fp32."""

    def build(folder: Path) -> tuple[MaskTokenizer, Engine[list[MaskScore]]]:
        opened = open_folder(folder, "fill-mask")
        config = opened.config
        tokenizer = MaskTokenizer(opened.parts.tokenizer, config.vocab_size, config.max_positions)
        head = LabelHead(config.vocab_size, 1)
        return tokenizer, open_engine(opened, head, tokenizer.pad_id, "fp32", Settings())

    return build


@pytest.fixture
def predict(tmp_path: Path, command: Callable[..., list[str]]) -> Callable[..., Ran]:
    """Run the command in fp32 on rows, or on a file of them; further options follow."""

    def run(task: str, model: Path, data: Path | Sequence[object], *options: str) -> Ran:
        if not isinstance(data, Path):
            file = tmp_path / "rows.jsonl"
            file.write_text("".join(json.dumps(row) + "\n" for row in data), encoding="utf-8")
            data = file
        folder = tmp_path / "outputs"
        return Ran(main([*command(task, model, data, folder), *options]), folder)

    return run
