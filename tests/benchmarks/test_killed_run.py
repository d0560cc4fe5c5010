"""A try that fails is told with its log."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.long.killed_run import killed


def test_a_try_that_fails_is_told_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"asset run -f .*missing\.yml ended with 2; see killed\.log"):
        killed(tmp_path / "killed", ["-f", str(tmp_path / "missing.yml")], 0, 1.0, random.Random(17))
    assert "missing.yml" in (tmp_path / "killed.log").read_text(encoding="utf-8")
