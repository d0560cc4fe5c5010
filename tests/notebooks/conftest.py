"""The notebooks of this checkout."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from asset.tools.notebooks import NOTEBOOKS

FILES = sorted(NOTEBOOKS.glob("*.ipynb"))


@pytest.fixture(params=FILES, ids=[file.stem for file in FILES])
def file(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def notebook(file: Path) -> nbformat.NotebookNode:
    return nbformat.read(file, as_version=4)
