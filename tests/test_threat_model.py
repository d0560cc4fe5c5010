"""The threat model names tests and settings that are there."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from serving.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/threat-model.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_each_promise_is_held_by_a_test_that_is_there() -> None:
    rows = [row.strip("|").split("|") for row in re.findall(r"(?m)^\|.*\|$", TEXT.partition("## Signatures")[0])[2:]]
    assert len(rows) >= 10
    held = [re.findall(r"\]\(([^)]+)\)", row[-1]) for row in rows]
    assert all(held)
    assert [path for paths in held for path in paths if not (PAGE.parent / path).is_file()] == []


def test_each_path_and_setting_that_it_names_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", TEXT)
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
    known = {PREFIX + field.name.upper() for field in fields(Settings)}
    named = set(re.findall(rf"{PREFIX}[A-Z_]+", TEXT))
    assert len(named) >= 3 and named <= known


def test_it_fits_a_page() -> None:
    assert len(TEXT.split()) < 1000
