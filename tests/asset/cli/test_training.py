"""Verbs that hand their arguments on show the options of the parser that reads them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from asset.cli.main import app

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("verb", "option"),
    [("pretrain", "--max-steps"), ("interpolate", "--toward"), ("questions", "--rows"), ("fetch-data", "--revision")],
)
def test_the_help_of_a_verb_has_its_own_options(verb: str, option: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "asset.cli.main", verb, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"usage: asset {verb}" in done.stdout
    assert option in done.stdout


def test_arguments_and_the_exit_status_are_handed_on(tmp_path: Path) -> None:
    text, output = tmp_path / "text.txt", tmp_path / "questions.jsonl"
    text.write_text("short\n", encoding="utf-8")
    assert CliRunner().invoke(app, ["questions", "--text", str(text), "--output", str(output)]).exit_code == 1
    assert CliRunner().invoke(app, ["questions", "--text", str(text)]).exit_code == 2
