"""`asset tools`: what those who develop the asset need: generated files, notebooks, bills of materials, the code's size."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from asset.cli.loop import DONE, FAILED, AsJson, Result, State, perform, state_folder
from asset.environments import ROOT
from asset.screen import Screen

app = typer.Typer(
    help="For those who develop the asset: generated files, notebooks, bills of materials, the code's size.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
notebooks_app = typer.Typer(help="Run the notebooks, or strip them before a commit.", no_args_is_help=True)
app.add_typer(notebooks_app, name="notebooks")


@app.command("sku-lists")
def sku_lists(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; end with status 1 if spec.yaml differs.")
    ] = False,
    folder: Annotated[Path, typer.Option("--folder", help="The folder with both files.", show_default=False)] = ROOT,
) -> None:
    """Render the allow-lists and minimum specifications of sku_lists.yaml into spec.yaml."""
    perform(lambda screen: _sku_lists(screen, folder, check))


def _sku_lists(screen: Screen, folder: Path, check: bool) -> Result:
    from asset.tools.sku_lists import COMMAND, render_file

    changes = render_file(folder, write=not check)
    if check and changes:
        screen.errors.print(f"spec.yaml differs from sku_lists.yaml; run `{COMMAND}`, or correct sku_lists.yaml:")
        for line in changes:
            screen.errors.print(f"  {line}", markup=False, soft_wrap=True)
        return Result({}, status=FAILED)
    return Result({}, f"spec.yaml {'written' if changes else 'agrees with sku_lists.yaml'}\n", DONE)


@app.command()
def openapi() -> None:
    """Write swagger2.json, swagger3.json and swagger3.1.json, the published description of requests and answers."""

    def work(screen: Screen) -> Result:
        from serving.http.openapi.documents import write

        return Result({}, "".join(f"{path.relative_to(ROOT)}\n" for path in write()))

    perform(work)


@app.command()
def sbom() -> None:
    """Write the bill of materials of each environment, and docs/licenses.md from them.

    The bills are environment/NAME/sbom.cdx.json, in CycloneDX. They are made for a release and are not in git.
    """

    def work(screen: Screen) -> Result:
        from asset.tools.sbom import write

        return Result({}, "".join(f"{path.relative_to(ROOT)}\n" for path in write()))

    perform(work)


@app.command()
def size(
    folder: Annotated[Path, typer.Argument(help="A git checkout. Default: this checkout.", show_default=False)] = ROOT,
    as_json: AsJson = False,
) -> None:
    """Print how large the product's Python code is, beside its targets."""

    def work(screen: Screen) -> Result:
        from asset.tools.size import measure

        measured = measure(folder)
        return Result(measured.as_dict(), measured.text())

    perform(work, as_json)


@notebooks_app.command("run")
def run_notebooks(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="A notebook, such as sdk-example. Default: all.")
    ] = None,
    cell_seconds: Annotated[int, typer.Option("--cell-seconds", min=1, help="The longest time for a cell.")] = 1800,
    state: State = None,
) -> None:
    """Run notebooks from their first cell to their last, on this machine.

    The files do not change. The notebook with its outputs is written to .asset/notebooks. If a cell fails, the message
    names the notebook and the cell.

    **Example**

        asset tools notebooks run sdk-example
    """
    perform(
        lambda screen: _run_notebooks(screen, names or [], cell_seconds, state_folder(state)),
        interrupted="interrupted; if a notebook deployed something, `asset endpoints list` shows it",
    )


def _run_notebooks(screen: Screen, names: list[str], cell_seconds: int, state: Path) -> Result:
    from asset.tools.notebooks import chosen, run

    for file in chosen(names):
        started = time.monotonic()
        result = run(file, state, screen, cell_seconds)
        screen.say(f"  ran in {time.monotonic() - started:.0f} s: {result}")
    return Result({})


@notebooks_app.command("strip")
def strip_notebooks(
    folder: Annotated[
        Path, typer.Argument(help="The folder of notebooks. Default: notebooks.", show_default=False)
    ] = ROOT / "notebooks",
) -> None:
    """Take out of the notebooks what a run leaves in them: outputs, counts, the kernel's machine and the editor."""

    def work(screen: Screen) -> Result:
        from asset.tools.notebooks import strip

        return Result({}, "".join(f"stripped {os.path.relpath(path)}\n" for path in strip(folder)))

    perform(work)
