"""Run the notebooks from their first cell to their last, on this machine.

    python -m asset.tools.notebooks                the notebooks of this checkout, one after the other
    python -m asset.tools.notebooks sdk-example    one of them

The files stay as they are. What comes of a run, with its plots, is a notebook in .asset/notebooks (or the folder ASSET_DIR);
so it is where a cell fails, and what is printed says which notebook, which cell and why.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from rich.console import Console

from asset.environments import ROOT
from asset.screen import interrupt_on_signals

NOTEBOOKS = ROOT / "notebooks"
CELL_SECONDS = 1800
COLORS = re.compile(r"\x1b\[[0-9;]*m")


class NotebookError(RuntimeError):
    """A notebook did not run to its end; the message says which, where and why."""


@dataclass(frozen=True)
class Runs:
    """How notebooks are run: the folder of local state, where each cell's end is told, and how long a cell may take."""

    state: Path
    console: Console
    cell_seconds: int = CELL_SECONDS

    def run(self, file: Path) -> Path:
        """Run a notebook in the folder of the notebooks; return the notebook with what came of it.

        Raises:
            NotebookError: a cell failed or took too long, or its kernel ended.
        """
        notebook = nbformat.read(file, as_version=4)
        target = self.state / "notebooks" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        code = [index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
        at, started = code[0], time.monotonic()

        def begin(cell: nbformat.NotebookNode, cell_index: int) -> None:
            nonlocal at, started
            at, started = cell_index, time.monotonic()

        def end(cell: nbformat.NotebookNode, cell_index: int, execute_reply: Mapping[str, object]) -> None:
            seconds = time.monotonic() - started
            self.console.print(f"  {code.index(cell_index) + 1:2}/{len(code)} {cell.id:28} {seconds:6.1f} s")

        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=self.cell_seconds,
            # Else it warns of other users of this machine, who could listen; a notebook of ours holds no secret.
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": str(NOTEBOOKS)}},
            on_cell_execute=begin,
            on_cell_executed=end,
        )
        self.console.print(file.name)
        try:
            client.execute(env=self._environment())
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as exc:
            raise NotebookError(
                f"{file.name}, cell {notebook.cells[at].id} (code cell {code.index(at) + 1} of {len(code)}): {_reason(exc)}"
                f"\nThe notebook as far as it came, with the whole error, is {target}; what it may have deployed is "
                "still there (`asset endpoints list`), and running it again starts over with that."
            ) from exc
        finally:
            nbformat.write(notebook, target)
        return target

    def _environment(self) -> dict[str, str]:
        """Return the kernel's environment variables: `import asset` is this checkout's, and plots go into the notebook."""
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        kept = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
        return kept | {"ASSET_DIR": str(self.state), "PYTHONPATH": os.pathsep.join(paths)}


def _reason(exc: Exception) -> str:
    if isinstance(exc, CellExecutionError):
        return f"{exc.ename}: {COLORS.sub('', exc.evalue)}"
    return f"{type(exc).__name__}: {exc}"


def _chosen(names: Sequence[str]) -> list[Path]:
    """Return the notebooks that are named, all where none is.

    Raises:
        ValueError: there is no such notebook.
    """
    known = {file.stem: file for file in sorted(NOTEBOOKS.glob("*.ipynb"))}
    wanted = [Path(name).name.removesuffix(".ipynb") for name in names]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(
            f"expected one of the notebooks {', '.join(known)}, found {', '.join(unknown)}; name one of those"
        )
    return [known[name] for name in wanted] or list(known.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run notebooks; return 0, or 1 where one failed, 2 where one is not there, 130 where it was interrupted."""
    parser = argparse.ArgumentParser(prog="python -m asset.tools.notebooks", description="Run the notebooks here.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a notebook, as sdk-example; without one: all")
    parser.add_argument("--cell-seconds", type=int, default=CELL_SECONDS, help="how long a cell may take (%(default)s)")
    given = parser.parse_args(arguments)
    console, errors = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)
    restore = interrupt_on_signals()
    try:
        files = _chosen(given.names)
        state = Path(os.environ.get("ASSET_DIR") or ROOT / ".asset").absolute()
        runs = Runs(state, console, given.cell_seconds)
        for file in files:
            started = time.monotonic()
            result = runs.run(file)
            console.print(f"  ran in {time.monotonic() - started:.0f} s: {result}", markup=False)
    except ValueError as exc:
        errors.print(str(exc), markup=False)
        return 2
    except NotebookError as exc:
        errors.print(str(exc), markup=False)
        return 1
    except KeyboardInterrupt:
        errors.print("interrupted; what a notebook deployed is still there: `asset endpoints list`")
        return 130
    finally:
        restore()
    return 0


if __name__ == "__main__":
    sys.exit(main())
