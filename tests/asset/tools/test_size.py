"""`asset tools size` measures the product's Python code and not the tests."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from asset.cli.main import app


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a large and a small file, a test and a README."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "tests").mkdir()
    function = "def add(a, b):\n    # a comment\n    return a + b\n"
    (tmp_path / "large.py").write_text(function + "x = 1\n" * 57, encoding="utf-8")
    (tmp_path / "small.py").write_text("class A:\n    async def f(self):\n        pass\n", encoding="utf-8")
    (tmp_path / "tests/test_large.py").write_text(function * 100, encoding="utf-8")
    (tmp_path / "README.md").write_text("# A title\n\nand five more words here\n", encoding="utf-8")
    return tmp_path


def test_the_size_of_a_checkout_is_printed_beside_its_targets(checkout: Path) -> None:
    done = CliRunner().invoke(app, ["tools", "size", str(checkout)])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [" ".join(line) for line in lines] == [
        "Python files 2 260 or fewer",
        "lines 63 36,000 or fewer",
        "files of 50 lines or fewer 1 fewer than 20",
        "lines of a function, median 2.5 8 or fewer",
        "lines of a function, 90th percentile 3.7 22 or fewer",
        "words of README.md 8 1,000 or fewer",
        "3 small.py",
    ]


def test_scripts_get_the_figures(checkout: Path) -> None:
    done = CliRunner().invoke(app, ["tools", "size", str(checkout), "--json"])
    answer = json.loads(done.stdout)
    assert answer["status"] == "done"
    assert answer["figures"]["Python files"] == 2
    assert answer["small_files"] == {"small.py": 3}
