"""README says what is so: its marked commands are run, and print what it shows."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from registry.local_server import SERVE_PORT, LocalServer, local_server
from serving.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?s)<!-- runs -->\n```console\n(.*?)```", README)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with local_server(ROOT / "model" / "embedded", python=ROOT / ".venv/serving/bin/python") as running:
        yield running


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0][2:40])
def test_a_marked_command_prints_what_readme_shows(server: LocalServer, block: str) -> None:
    command, *shown = block.strip().split("\n")
    assert command.startswith("$ ")
    assert "make test" not in command
    command = command.removeprefix("$ ").replace(f"http://127.0.0.1:{SERVE_PORT}", server.url)
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.strip().split("\n")
    if shown:
        assert [json.loads(line) for line in printed] == [json.loads(line, parse_float=about) for line in shown]
    assert "error" not in done.stdout or "error" in block


def about(digits: str) -> object:
    """Read a figure that is the same but for its last digits: they depend on the CPU's instructions."""
    return pytest.approx(float(digits), rel=0.5)


def test_readme_marks_commands_to_run() -> None:
    assert len(BLOCKS) == README.count("<!-- runs -->") >= 4


def test_readme_names_every_setting_with_its_default() -> None:
    for field in fields(Settings):
        default = "" if field.default is None else f"{field.default}"
        assert re.search(rf"\| `{PREFIX}{field.name.upper()}` \| `?{default}`? ?\|", README), field.name


def test_readme_names_every_error_code() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "serving").glob("*.py")]
    codes = {
        code
        for text in sources
        for code in re.findall(
            r'(?:BadRequest|TooLarge|super\(\).__init__)\(\s*"(\w+)"|"code": "(internal_error)"', text
        )
        for code in code
        if code
    }
    assert len(codes) > 10 and codes >= {"queue_full", "deadline_exceeded"}
    assert [code for code in sorted(codes) if f"`{code}`" not in README] == []


def test_every_path_that_readme_links_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
