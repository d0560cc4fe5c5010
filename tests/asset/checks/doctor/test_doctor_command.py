"""The command, on this checkout and on small ones."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asset.checks.doctor.check import Machine
from asset.cli.doctor import examine
from asset.cli.loop import Result
from asset.screen import Screen, safe_console

ROOT = Path(__file__).resolve().parents[4]
BLUE = ROOT / "deployment/online-deployment-blue.yml"


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "asset.cli.main", "doctor", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False)


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stdout.count("\n") == 1, done.stderr
    return json.loads(done.stdout)


def test_this_checkout_is_looked_at_whole() -> None:
    done = run("--json", "--azure", "-f", str(BLUE), "--sku", "Standard_F4s_v2")
    answer = told(done)
    names = [check["rule"] for check in answer["checks"]]
    assert {"python", "cpu instructions", "cpus", "kernels", "memory", "disk", "port", "model"} <= set(names)
    assert {".venv/serving", ".venv/evaluation", ".venv/finetune", ".venv/batch", ".venv/dev"} <= set(names)
    assert {"azure workspace", "azure credentials", "sku Standard_F4s_v2 size"} <= set(names)
    assert {check["severity"] for check in answer["checks"]} <= {"ok", "note", "error"}
    assert all(bool(check["fix"]) == (check["severity"] != "ok") for check in answer["checks"])
    assert all(check["message"] for check in answer["checks"])
    wrong = [check["rule"] for check in answer["checks"] if check["severity"] == "error"]
    assert (answer["status"], done.returncode) == (("wrong", 1) if wrong else ("ok", 0))


def test_the_look_is_quick_as_nothing_heavy_is_imported() -> None:
    heavy = ("torch", "azure", "mlflow", "onnx", "onnxruntime", "transformers", "huggingface_hub")
    code = (
        "import contextlib, sys, typer\nfrom asset.cli.doctor import doctor\n"
        "with contextlib.suppress(typer.Exit): doctor(sku='Standard_F4s_v2')\n"
        f"sys.stderr.write(str([name for name in {heavy} if name in sys.modules]))"
    )
    start = os.times().children_user
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == "[]"
    # Of the processor: another program may have it meanwhile.
    assert os.times().children_user - start < 2


def look(machine: Machine, **options: Any) -> Result:  # noqa: ANN401
    return examine(Screen(safe_console(sys.stdout)), machine, **options)


@pytest.fixture
def well(machine: Machine) -> Machine:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return replace(machine, port=listener.getsockname()[1])


def test_notes_alone_are_no_failure(well: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert look(well).status == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok    python: 3.11.7")
    assert any(line.startswith("note  .venv/serving: not set up") for line in lines)
    assert "      `make setup SETS=serving`" in lines
    assert lines[-1].endswith(" 0 wrong")


def test_what_is_wrong_has_its_fix_below(
    well: Machine, with_variables: Callable[..., Machine], capsys: pytest.CaptureFixture[str]
) -> None:
    machine = replace(with_variables(BERT_SERVING_MAX_ROW="1"), port=well.port)
    assert look(machine).status == 1
    lines = capsys.readouterr().out.splitlines()
    (index,) = [index for index, line in enumerate(lines) if line.startswith("wrong ")]
    assert "unknown setting BERT_SERVING_MAX_ROW" in lines[index]
    assert "; expected BERT_SERVING_ variables" in lines[index]
    assert lines[index + 1] == "      write BERT_SERVING_MAX_ROWS for BERT_SERVING_MAX_ROW"


def test_an_unknown_machine_is_a_failure(well: Machine) -> None:
    result = look(well, sku="Standard_F4s_v9")
    checks = result.answer["checks"]
    assert result.status == 1
    assert [check["rule"] for check in checks if check["severity"] == "error"] == ["sku Standard_F4s_v9"]
    assert look(well, sku="Standard_F4s_v2").status == 0


def test_what_is_no_deployment_ends_with_2() -> None:
    done = run("-f", "README.md", "--json")
    assert (done.returncode, told(done)["status"]) == (2, "invalid")
    assert done.stderr.strip() == told(done)["message"]
    done = run("-f", "none.yml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "none.yml:1: expected a YAML file, found: No such file or directory; name one" in done.stderr


def test_arguments_that_are_no_such_end_with_2() -> None:
    assert run("--port", "0").returncode == 2
    assert run("--gpu").returncode == 2


def test_secrets_are_not_told() -> None:
    secrets = {
        "HF_TOKEN": "hf_very-secret",
        "AZURE_CLIENT_SECRET": "very-secret",
        "HF_ENDPOINT": "https://a:very-secret@b",
    }
    secrets |= {"http_proxy": "http://me:very-secret@proxy:1", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c"}
    for options in (["--azure"], ["--azure", "--json"]):
        done = run(*options, **secrets)
        assert "very-secret" not in done.stdout + done.stderr
