"""Run the notebooks on this machine, and strip them of what a run leaves in them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbstripout import strip_output

from asset.environments import ROOT
from asset.screen import Screen

NOTEBOOKS = ROOT / "notebooks"
CELL_SECONDS = 1800
COLORS = re.compile(r"\x1b\[[0-9;]*m")

KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""The kernel that every Jupyter and VS Code has."""


class NotebookError(RuntimeError):
    """A notebook did not run to its end; the message names the notebook, the cell and the reason."""


def chosen(names: Sequence[str]) -> list[Path]:
    """Return the files of the named notebooks; all notebooks if there are no names.

    Raises:
        ValueError: there is no notebook of this name.
    """
    files = {file.stem: file for file in sorted(NOTEBOOKS.glob("*.ipynb"))}
    stems = [Path(name).name.removesuffix(".ipynb") for name in names]
    unknown = [stem for stem in stems if stem not in files]
    if unknown:
        raise ValueError(f"there is no notebook {', '.join(unknown)}; choose from {', '.join(files)}")
    return [files[stem] for stem in stems] or list(files.values())


def run(file: Path, state: Path, screen: Screen, cell_seconds: int = CELL_SECONDS) -> Path:
    """Run a notebook in the folder of the notebooks, and show when each cell ends.

    The file does not change. Returns the notebook with its outputs, which is in a folder of the local state.

    Raises:
        NotebookError: a cell failed or took too long, or its kernel ended.
    """
    notebook = nbformat.read(file, as_version=4)
    target = state / "notebooks" / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    code = [index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    current, started = code[0], time.monotonic()

    def begin(cell: nbformat.NotebookNode, cell_index: int) -> None:
        nonlocal current, started
        current, started = cell_index, time.monotonic()

    def end(cell: nbformat.NotebookNode, cell_index: int, execute_reply: Mapping[str, object]) -> None:
        seconds = time.monotonic() - started
        screen.say(f"  {code.index(cell_index) + 1:2}/{len(code)} {cell.id:28} {seconds:6.1f} s")

    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=cell_seconds,
        # Without this, the kernel warns that other users of this machine could listen; the notebooks hold no secret.
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(NOTEBOOKS)}},
        on_cell_execute=begin,
        on_cell_executed=end,
    )
    screen.say(file.name)
    try:
        client.execute(env=_variables(state))
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as exc:
        raise NotebookError(
            f"{file.name}, cell {notebook.cells[current].id} (code cell {code.index(current) + 1} of {len(code)}): "
            f"{_reason(exc)}\nThe notebook up to this cell, with the whole error, is {target}. If it deployed something, "
            "`asset endpoints list` shows it; another run of the notebook replaces that."
        ) from exc
    finally:
        nbformat.write(notebook, target)
    return target


def _variables(state: Path) -> dict[str, str]:
    """Return the kernel's environment variables: `import asset` is this checkout's, and plots go into the notebook."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    return kept | {"ASSET_DIR": str(state), "PYTHONPATH": os.pathsep.join(paths)}


def _reason(exc: Exception) -> str:
    if isinstance(exc, CellExecutionError):
        return f"{exc.ename}: {COLORS.sub('', exc.evalue)}"
    return f"{type(exc).__name__}: {exc}"


def strip(folder: Path = NOTEBOOKS) -> Iterator[Path]:
    """Strip each notebook of a folder in place; yield the files that change."""
    for file in sorted(folder.glob("*.ipynb")):
        before = file.read_text(encoding="utf-8")
        if (after := stripped(before)) != before:
            file.write_text(after, encoding="utf-8")
            yield file


def stripped(text: str) -> str:
    """Return a notebook's text as git keeps it: prose, code, the names of cells, and a kernel that everybody has."""
    notebook = nbformat.reads(text, as_version=4)
    strip_output(notebook, keep_output=False, keep_count=False, keep_id=True)
    notebook.metadata = nbformat.from_dict(KERNEL)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
    return nbformat.writes(notebook) + "\n"
