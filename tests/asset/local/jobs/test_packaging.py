"""The command `asset` comes with the development environment."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from asset.cli.main import main

ROOT = Path(__file__).resolve().parents[4]


def test_the_project_declares_the_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"asset": f"{main.__module__}:{main.__name__}"}
    assert {"typer", "rich", "setuptools"} <= {Requirement(r).name for r in project["optional-dependencies"]["dev"]}


def test_make_installs_it_into_the_development_environment_alone(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "pyproject.toml").touch()
    printed = {}
    for name in ("dev", "serving"):
        pins = tmp_path / f"environment/{name}/requirements.txt"
        pins.parent.mkdir(parents=True)
        pins.touch()
        command = ["make", "--dry-run", f".venv/{name}/.installed"]
        printed[name] = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert ".venv/dev/bin/python -m pip install" in printed["dev"]
    assert "--no-deps --no-build-isolation --editable ." in printed["dev"]
    assert "--editable" not in printed["serving"]
