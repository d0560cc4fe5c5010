"""The command `asset`: what is done with the asset on this machine. Each command's work is in a module of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="asset",
    help="What is done with this model asset, here on this machine: run its Azure ML jobs, and look at what came of them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

State = Annotated[
    Path | None,
    typer.Option("--asset-dir", envvar="ASSET_DIR", help="The folder of local state. Default: .asset in the checkout."),
]


@app.callback()
def _commands() -> None:
    """Stand here so that `asset run` stays a command of its own however many there are."""


@app.command("run")
def run_command(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="With --resume: the run's name. Default: the one started last.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="The job: an Azure ML pipeline job's YAML.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Change an input: `inputs.NAME=VALUE`, `inputs.NAME.path=PATH` (from the current folder), or of one step "
            "`jobs.STEP.inputs.NAME=VALUE`. Repeat it for more.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue a run: keep what it finished, go on with its first unfinished step."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object at the end, and the log to standard error.")
    ] = False,
    state: State = None,
) -> None:
    """Run an Azure ML pipeline job on this machine, from the file that Azure runs.

    The job and its components are checked first: by the Azure SDK, and for what that lets through. Each step then runs
    as a process in the virtual environment that stands for its image (environment/evaluation is .venv/evaluation), with
    inputs, outputs, optional groups and distribution as on Azure. Inputs, outputs, logs and exit status are kept in
    .asset/runs/NAME, and in MLflow: `asset ui`.

    Exit status: 0, 1 where a step failed, 2 where nothing was run, 130 where it was interrupted.

    **Examples**

        asset run -f evaluation/evaluate-model-fill-mask.yml

        asset run -f evaluation/evaluate-model-fill-mask.yml --set inputs.test_data.path=cloze.jsonl
            --set inputs.mlflow_model.path=model/embedded --set inputs.precision=fp32

        asset run --resume                                      # the run started last

        asset run --resume evaluate-model-fill-mask-20261121-183000
    """
    from registry.run_command import RunOptions
    from registry.run_command import run as run_job

    raise typer.Exit(run_job(RunOptions(file, list(settings or []), resume, run, state, as_json)))


@app.command("ui")
def ui_command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1; 0 takes a free one.")] = 5050,
    state: State = None,
) -> None:
    """Open MLflow's pages on the runs of this checkout, until Ctrl-C.

    **Example**

        asset ui --port 5051
    """
    from registry.ui_command import ui

    raise typer.Exit(ui(state, port))


def main() -> None:
    """Run the command line; the exit status is that of the command."""
    sys.exit(app())


if __name__ == "__main__":
    main()
