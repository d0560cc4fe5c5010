"""Every notebook runs here from its first cell to its last, also after one that was left half-way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from rich.console import Console
from typer.testing import CliRunner

from asset.cli.main import app
from asset.local.endpoints.link import LocalEndpoint
from asset.local.endpoints.records import endpoints
from asset.screen import Screen
from asset.tools.notebooks import NotebookError, run
from tests.notebooks.conftest import FILES

ROOT = Path(__file__).resolve().parents[2]
QUIET = Screen(Console(quiet=True))
ENDPOINTS = {
    "sdk-example": "sdk-example",
    "fill-mask-online-endpoint": "fill-mask",
    "finetune-text-classification": "sentiment",
}
"""What the name of a notebook's endpoint begins with."""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of local state; what a notebook that failed left running ends with the tests."""
    state = tmp_path_factory.mktemp("state")
    yield state
    for folder in endpoints(state):
        LocalEndpoint(folder).delete()


def left(state: Path, name: str) -> list[str]:
    """Return the endpoints of a notebook that are there."""
    names = [folder.path.name for folder in endpoints(state)]
    return [found for found in names if name in ENDPOINTS and found.startswith(f"{ENDPOINTS[name]}-")]


@pytest.mark.parametrize("name", ["sdk-example", "fill-mask-online-endpoint"])
def test_a_notebook_may_be_left_before_it_cleans_up(name: str, state: Path, tmp_path: Path) -> None:
    (file,) = (file for file in FILES if file.stem == name)
    notebook = nbformat.read(file, as_version=4)
    last = notebook.cells.pop()
    assert last.id == "remove"
    nbformat.write(notebook, tmp_path / file.name)
    run(tmp_path / file.name, state, QUIET)
    assert len(left(state, name)) == 1


def test_a_notebook_runs_from_top_to_bottom(file: Path, state: Path) -> None:
    before = file.read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "asset.cli.main", "tools", "notebooks", "run", file.stem],
        cwd=ROOT,
        env=os.environ | {"ASSET_DIR": str(state)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert file.read_bytes() == before
    ran = nbformat.read(state / "notebooks" / file.name, as_version=4)
    code = [cell for cell in ran.cells if cell.cell_type == "code"]
    assert f"{len(code)}/{len(code)} {code[-1].id} " in done.stdout
    for cell in code:
        kinds = [kind for output in cell.outputs for kind in output.get("data", {})]
        assert kinds.count("image/png") == cell.source.count("plt.show()"), cell.id
        assert "error" not in [output.output_type for output in cell.outputs]
    assert left(state, file.stem) == []


def small(folder: Path, *sources: str) -> Path:
    cells = [nbformat.v4.new_code_cell(source, id=f"cell-{n}") for n, source in enumerate(sources)]
    cells.insert(0, nbformat.v4.new_markdown_cell("# A title", id="title"))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "small.ipynb")
    return folder / "small.ipynb"


def test_a_cell_that_fails_is_named_with_its_notebook_and_its_error(tmp_path: Path) -> None:
    file = small(tmp_path, "print('so far')", "int('seven')", "print('never')")
    with pytest.raises(NotebookError) as failed:
        run(file, tmp_path / "state", QUIET)
    assert str(failed.value).startswith(
        "small.ipynb, cell cell-1 (code cell 2 of 3): ValueError: invalid literal for int() with base 10: 'seven'\n"
    )
    ran = nbformat.read(tmp_path / "state/notebooks/small.ipynb", as_version=4)
    assert ran.cells[1].outputs[0].text == "so far\n"
    assert ran.cells[2].outputs[0].output_type == "error"


def test_a_cell_that_takes_too_long_is_named(tmp_path: Path) -> None:
    file = small(tmp_path, "import time\ntime.sleep(60)")
    with pytest.raises(NotebookError, match=r"small\.ipynb, cell cell-0 .* CellTimeoutError: .* 1 seconds"):
        run(file, tmp_path / "state", QUIET, cell_seconds=1)


def test_a_kernel_that_ends_is_told(tmp_path: Path) -> None:
    file = small(tmp_path, "import os\nos._exit(1)")
    with pytest.raises(NotebookError, match=r"small\.ipynb, cell cell-0 .* DeadKernelError"):
        run(file, tmp_path / "state", QUIET)


def test_the_message_about_an_unknown_notebook_lists_the_others() -> None:
    done = CliRunner().invoke(app, ["tools", "notebooks", "run", "sdk-exampel"])
    assert done.exit_code == 2
    expected = "there is no notebook sdk-exampel; choose from evaluate-model-fill-mask, fill-mask-online-endpoint, "
    assert expected in done.stderr
