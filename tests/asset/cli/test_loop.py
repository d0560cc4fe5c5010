"""Every verb ends in the same way: one answer, one exit status, signals obeyed and no traceback for known errors."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from asset.cli.loop import FAILED, INVALID, STATUS_OF_ERROR, Result, exit_status, perform
from asset.cli.main import VERBS
from asset.findings import Finding, Place
from asset.models.errors import NotVerified
from asset.screen import Screen

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", STATUS_OF_ERROR)
def test_each_error_of_the_table_exists(name: str) -> None:
    module, _, kind = name.rpartition(".")
    assert issubclass(getattr(importlib.import_module(module), kind), Exception)


def test_the_most_specific_class_of_an_error_counts() -> None:
    assert exit_status(FileNotFoundError()) == INVALID
    assert exit_status(PermissionError()) == FAILED
    assert exit_status(NotVerified("no")) == FAILED
    assert exit_status(KeyError()) is None


def test_a_text_for_people_or_an_object_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    def work(screen: Screen) -> Result:
        screen.say("working on [it]")
        return Result({"path": "there"}, "there\n")

    with pytest.raises(typer.Exit) as end:
        perform(work)
    assert (end.value.exit_code, capsys.readouterr().out) == (0, "working on [it]\nthere\n")
    with pytest.raises(typer.Exit) as end:
        perform(work, as_json=True)
    printed = capsys.readouterr()
    assert (end.value.exit_code, json.loads(printed.out)) == (0, {"status": "done", "path": "there"})
    assert printed.err == "working on [it]\n"


def test_an_error_is_one_message_with_its_details(capsys: pytest.CaptureFixture[str]) -> None:
    def work(screen: Screen) -> Result:
        raise NotVerified("config.json changed", ("config.json is not what was signed",))

    with pytest.raises(typer.Exit) as end:
        perform(work, as_json=True)
    printed = capsys.readouterr()
    assert (end.value.exit_code, printed.err) == (1, "config.json changed\n")
    assert json.loads(printed.out) == {
        "status": "failed",
        "code": "not_verified",
        "differences": ["config.json is not what was signed"],
        "message": "config.json changed",
    }


def test_the_findings_of_a_file_are_in_the_object(capsys: pytest.CaptureFixture[str]) -> None:
    from asset.findings import InvalidFileError

    finding = Finding(Place("job.yml", 3), "no such input", "rename it")

    def work(screen: Screen) -> Result:
        raise InvalidFileError([finding])

    with pytest.raises(typer.Exit) as end:
        perform(work, as_json=True)
    assert end.value.exit_code == INVALID
    assert json.loads(capsys.readouterr().out)["findings"] == [finding.as_dict()]


def test_a_fault_of_the_command_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        perform(lambda _: {}["absent"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    with pytest.raises(typer.Exit) as end:
        perform(lambda _: os.kill(os.getpid(), number), as_json=True)
    printed = capsys.readouterr()
    assert (end.value.exit_code, json.loads(printed.out)["status"], printed.err) == (
        130,
        "interrupted",
        "interrupted\n",
    )
    assert signal.getsignal(number) == before


def test_the_help_names_every_verb_without_the_heavy_packages() -> None:
    code = (
        "import sys; from asset.cli.main import app; from typer.testing import CliRunner\n"
        "print(CliRunner().invoke(app, ['--help']).stdout)\n"
        "print([n for n in ('azure.ai.ml', 'mlflow', 'torch', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [name for name in VERBS if f" {name} " not in done.stdout] == []
    assert done.stdout.splitlines()[-1] == "[]"
