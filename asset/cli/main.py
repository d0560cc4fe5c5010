"""The command `asset`: what is done with the asset on this machine. Each command's work is in a module of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from asset.cli.deploying import deploy_app
from asset.cli.endpoints_group import endpoints_app
from asset.cli.options import State
from asset.cli.signing import signing_app

app = typer.Typer(
    name="asset",
    help="What is done with this model asset, here on this machine and on Azure ML: check, get, compile, serve and deploy it, "
    "and run its jobs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(deploy_app)
app.add_typer(signing_app)
app.add_typer(endpoints_app, name="endpoints")


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
    from asset.cli.run import RunOptions
    from asset.cli.run import run as run_job

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
    from asset.cli.ui import ui

    raise typer.Exit(ui(state, port))


@app.command("pull")
def pull_command(
    model_id: Annotated[
        str | None,
        typer.Option("--model-id", metavar="OWNER/NAME", help="Another model on the hub. Default: bert-base-cased."),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(help="A commit, branch or tag. Default: the commit that spec.yaml pins; of another model, main."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Where it goes. Default: model/NAME in the checkout.")
    ] = None,
    package: Annotated[
        bool, typer.Option("--package/--no-package", help="Make it an MLflow model and register it, once it is here.")
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object at the end, and all else to standard error.")
    ] = False,
    state: State = None,
) -> None:
    """Get a model from the Hugging Face hub: bert-base-cased, or another BERT or DistilBERT.

    Safetensors only, each file compared with the size and hash that the hub lists. What came is kept where a pull is
    cut off or killed, and the next one goes on from there; the folder has all of the model at the end, and before that
    what it had. Then it is packaged and registered, as by `asset package`.

    HF_ENDPOINT (a mirror), HF_TOKEN, HF_HOME, HF_HUB_OFFLINE and HTTPS_PROXY count. What huggingface_hub's cache has
    already is taken from there.

    Exit status: 0, 1 where the hub, the connection or the disk failed, 2 where what is asked for cannot be had, 130
    where it was interrupted. With --json, `code` says which fault it was.

    **Examples**

        asset pull

        HF_ENDPOINT=https://mirror.example.com asset pull

        asset pull --model-id distilbert/distilbert-base-cased --output model/distilbert
    """
    from asset.cli.pull import PullOptions
    from asset.cli.pull import pull_command as pull

    raise typer.Exit(pull(PullOptions(model_id, revision, output, package, state, as_json)))


@app.command("package")
def package_command(
    model: Annotated[
        Path | None, typer.Option("--model", metavar="DIR", help="The model folder. Default: model/bert-base-cased.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The registered model's name. Default: what the model calls itself.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(help="The version's number. Default: the next; of bert-base-cased, spec.yaml's.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object at the end, and all else to standard error.")
    ] = False,
    state: State = None,
) -> None:
    """Make a checkpoint folder an MLflow model, where it is, and register it in this checkout's MLflow store.

    The folder has config.json, model.safetensors and tokenizer.json of a BERT or DistilBERT that score.py serves. It
    gets MLmodel (flavors transformers and python_function, signature, input example, commit and hashes), conda.yaml,
    python_env.yaml, requirements.txt and components/tokenizer. The weights are not copied: the version is the folder.

    Exit status: 0, 1 where the store or the disk failed, 2 where it is no such folder, 130 where it was interrupted.

    **Examples**

        asset package

        asset package --model runs/notes/model --name notes-bert

        MLFLOW_TRACKING_URI=sqlite:///.asset/mlflow.db mlflow models serve -m models:/bert-base-cased/17 --env-manager local
    """
    from asset.cli.pull import PackageOptions
    from asset.cli.pull import package_command as make

    raise typer.Exit(make(PackageOptions(model, name, version, state, as_json)))


@app.command("validate")
def validate_command(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATHS", help="Files and folders. Default: the whole checkout.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")] = False,
) -> None:
    """Check the asset's files: what Azure would refuse, what it would let through, and what would fail later.

    Pipeline jobs and components, environments with their Dockerfile and requirements, endpoints and deployments, spec.yaml
    with what stands beside it, sku_lists.yaml, MLmodel, MLTable and the evaluation's configuration: by the Azure SDK's own
    validation, that of Microsoft's registry (azureml-assets), and rules for what both miss. Each finding has its file, its
    line and what to do. A note, as that weights are not pulled yet, is no finding.

    Exit status: 0 where nothing is wrong, 1 where something is, 2 where nothing could be checked.

    **Examples**

        asset validate

        asset validate deployment evaluation/evaluate-model-fill-mask.yml

        asset validate --json | jq '.findings[] | .file, .line, .fix'
    """
    from asset.cli.validate import ValidateOptions
    from asset.cli.validate import run as run_validate

    raise typer.Exit(run_validate(ValidateOptions(tuple(paths or ()), as_json)))


@app.command("doctor")
def doctor_command(
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Look at a deployment too: its machine and its settings.")
    ] = None,
    sku: Annotated[
        str | None, typer.Option("--sku", metavar="SIZE", help="Look at a size of Azure's too, as Standard_F4s_v2.")
    ] = None,
    azure: Annotated[
        bool, typer.Option("--azure", help="Look for a workspace and a sign-in too; without a network.")
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port that a server here would take.")] = 5001,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what is wrong with this machine, its environments or a deployment, before something else fails.

    Looked at are: Python, the CPU and which precision and engine it serves with, CPUs and memory that a container may
    use, the disk, the compiler, the port and who holds it, each virtual environment against its pins, the model folder,
    the place of compiled models, and variables that are misspelled or in the way. What is wrong has its fix below it; a
    note is what works, and is worth to know. Nothing is sent, changed or installed, and no secret is shown.

    Exit status: 0 nothing is wrong, 1 something is, 2 nothing could be checked.

    **Examples**

        asset doctor

        asset doctor --sku Standard_F4s_v2                      # is it allowed, large enough, fast in int8?

        asset doctor -f deployment/online-deployment-blue.yml

        asset doctor --azure --json
    """
    from asset.checks.doctor.check import Machine
    from asset.cli.doctor import DoctorOptions, doctor

    raise typer.Exit(doctor(DoctorOptions(file, sku, azure, as_json), Machine(port=port)))


def main() -> None:
    """Run the command line; the exit status is that of the command."""
    sys.exit(app())


if __name__ == "__main__":
    main()
