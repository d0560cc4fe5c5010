"""README and the pages it links say what is so: their marked commands are run, and print what they show."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from asset.local.server import SERVE_PORT, LocalServer, local_server
from serving.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
SERVING = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
MARK = "<!-- runs -->"
BLOCKS = [
    pytest.param(block, id=f"{page.name}: {block[2:40]}")
    for page in PAGES
    for block in re.findall(rf"(?s){MARK}\n```console\n(.*?)```", page.read_text(encoding="utf-8"))
]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with local_server(ROOT / "model" / "embedded", python=ROOT / ".venv/serving/bin/python") as running:
        yield running


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of local state for the commands, instead of the checkout's own; endpoints that they leave are ended."""
    folder = tmp_path_factory.mktemp("asset")
    yield folder
    command = [ROOT / ".venv/dev/bin/asset", "endpoints", "delete", "bert-base-cased"]
    subprocess.run(command, env={**os.environ, "ASSET_DIR": str(folder)}, capture_output=True, check=False)


def steps(block: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a block with the lines that it is said to print."""
    assert block.startswith("$ ")
    for step in re.split(r"(?m)^\$ ", block.strip())[1:]:
        command, *shown = step.strip().split("\n")
        yield command, shown


@pytest.mark.parametrize("block", BLOCKS)
def test_a_marked_block_prints_what_the_page_shows(server: LocalServer, state: Path, block: str) -> None:
    for command, shown in steps(block):
        assert "make test" not in command
        environment = {**os.environ, "ASSET_DIR": str(state)}
        here = command.replace(f"http://127.0.0.1:{SERVE_PORT}", server.url)
        done = subprocess.run(here, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        if shown:
            printed = done.stdout.strip().split("\n")
            assert [json.loads(line) for line in printed] == [json.loads(line, parse_float=about) for line in shown]
        assert "error" not in done.stdout or "error" in block


def about(digits: str) -> object:
    """Read a figure that is the same but for its last digits: they depend on the CPU's instructions."""
    return pytest.approx(float(digits), rel=0.5)


def test_pages_mark_commands_to_run() -> None:
    assert len(BLOCKS) == sum(page.read_text(encoding="utf-8").count(MARK) for page in PAGES) >= 8


def test_the_page_of_requests_names_every_setting_with_its_default() -> None:
    for field in fields(Settings):
        default = "" if field.default is None else f"{field.default}"
        assert re.search(rf"\| `{PREFIX}{field.name.upper()}` \| `?{default}`? ?\|", SERVING), field.name


def test_the_page_of_requests_names_every_error_code() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "serving").rglob("*.py")]
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
    assert [code for code in sorted(codes) if f"`{code}`" not in SERVING] == []


def test_every_path_that_a_page_links_is_there() -> None:
    links = [
        (page, link)
        for page in PAGES
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    ]
    assert links
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_every_heading_that_a_page_links_is_there() -> None:
    links = [
        (page, path, anchor)
        for page in PAGES
        for path, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    ]
    assert links
    for page, path, anchor in links:
        target = (page.parent / path).read_text(encoding="utf-8") if path else page.read_text(encoding="utf-8")
        headings = [
            re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-")
            for line in re.findall(r"(?m)^#+ (.*)$", target)
        ]
        assert anchor in headings, f"{page.name}: {path}#{anchor}"
