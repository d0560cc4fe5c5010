"""`asset compile` as a user runs it: the serving environment's compiler, on tiny checkpoints."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from asset.cli.main import app

ROOT = Path(__file__).resolve().parents[3]


def asset_compile(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "asset.cli.main", "compile", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def model(checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "model", ignore=shutil.ignore_patterns(".compiled"))


def test_the_result_lies_in_the_model_folder(model: Path) -> None:
    done = asset_compile("--model", str(model), "--precision", "fp32")
    assert done.returncode == 0, done.stderr
    compiled = Path(done.stdout.strip())
    assert compiled.parent == model / ".compiled"
    assert compiled.stat().st_size > 0
    assert f"compile {model} to fp32 for onnxruntime" in done.stderr


def test_a_script_gets_one_object(model: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    done = asset_compile("--model", str(model), "--precision", "fp32", "--cache-dir", str(kept), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["status"], told["model"]) == ("done", str(model))
    assert Path(told["compiled"]).parent == kept
    assert not (model / ".compiled").exists()


def test_a_damaged_model_is_told(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0not json")
    done = asset_compile("--model", str(model), "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["status"]) == (1, "failed")
    assert "model.safetensors" in told["message"]
    assert told["message"] in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_folder_or_environment_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(app, ["compile", "--model", str(model / "absent")])
    assert (done.exit_code, f"there is no model folder {model}/absent" in done.stderr) == (2, True)
    monkeypatch.setattr("asset.local.server.SERVING_PYTHON", model / "absent")
    done = CliRunner().invoke(app, ["compile", "--model", str(model)])
    assert (done.exit_code, "run `make setup SETS=serving`" in done.stderr) == (2, True)
