"""The commands `asset compile`, `serve`, `deploy`, `invoke` and `submit`: wiring only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from asset.cli.options import AsJson, Azure, ResourceGroup, State, Subscription, Workspace

deploy_app = typer.Typer(rich_markup_mode="markdown")


@deploy_app.command("compile")
def compile_command(
    model: Annotated[
        Path | None,
        typer.Option("--model", help="The model folder. Default: bert-base-cased, else the embedded model."),
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "int8", "fp16"],
        typer.Option(help="auto: fp16 where there is a GPU, else int8 where the CPU is fast in it, else fp32."),
    ] = "auto",
    engine: Annotated[
        Literal["auto", "native", "onnxruntime"],
        typer.Option(help="auto: the kernels of our own for int8 where this machine can, else ONNX Runtime."),
    ] = "auto",
    cache_dir: Annotated[
        Path | None, typer.Option("--cache-dir", help="Where it is kept. Default: .compiled in the model folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compile a model ahead of its first start, as for an image, and print where the result is.

    The server that starts on the folder finds it there. What was compiled before from the same weights is left as it is.

    Exit status: 0, 1 where it cannot be compiled, 2 where nothing was tried, 130 where it was interrupted.

    **Examples**

        asset compile

        asset compile --model runs/notes/model --precision int8
    """
    from asset.cli.compile import CompileOptions, compile_model

    raise typer.Exit(compile_model(CompileOptions(model, precision, engine, cache_dir, as_json)))


@deploy_app.command("serve")
def serve_command(
    model: Annotated[
        Path | None,
        typer.Option("--model", help="The model folder. Default: bert-base-cased, else the embedded model."),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port on 127.0.0.1; 0 takes a free one.")
    ] = 5001,
) -> None:
    """Serve a model at http://127.0.0.1:5001/score with Microsoft's inference server, until Ctrl-C.

    No endpoint is made, and no key is asked for: for those there is `asset deploy`.

    **Examples**

        asset serve

        asset serve --model runs/notes/model --port 5002
    """
    from asset.local.server import main as local_server

    given = ["serve", "--port", str(port), *(["--model", str(model)] if model else [])]
    raise typer.Exit(local_server(given))


@deploy_app.command("deploy")
def deploy_command(
    file: Annotated[Path, typer.Option("--file", "-f", help="The YAML of an endpoint or a deployment.")],
    traffic: Annotated[
        str | None,
        typer.Option("--traffic", metavar="NAME=PERCENT,…", help="The endpoint's traffic, as blue=90,green=10."),
    ] = None,
    azure: Azure = False,
    subscription: Subscription = None,
    resource_group: ResourceGroup = None,
    workspace: Workspace = None,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Deploy from the files that Azure takes: here, or with --azure there.

    Here, an endpoint is a process that stays, on 127.0.0.1: it checks keys, shares the traffic out, and keeps an inference
    server a deployment running. An endpoint that is not there is created, from the file of its name beside the
    deployment's; the first deployment gets all of the traffic. One that is there is exchanged without a lost request.

    Exit status: 0, 1 where it failed, 2 where nothing was done, 130 where it was interrupted.

    **Examples**

        asset deploy -f deployment/online-deployment-blue.yml

        asset deploy -f deployment/online-deployment-green.yml --traffic blue=90,green=10

        asset deploy -f deployment/batch-deployment.yml --azure --workspace mine --resource-group ours --subscription ID
    """
    from asset.cli.deploy import DeployOptions, deploy
    from asset.cli.loop import Where

    where = Where(azure, state, subscription, resource_group, workspace)
    raise typer.Exit(deploy(DeployOptions(file, traffic, where, as_json)))


@deploy_app.command("invoke")
def invoke_command(
    endpoint: Annotated[str, typer.Argument(help="The endpoint's name.")],
    request_file: Annotated[
        Path | None, typer.Option("--request-file", help="A request in JSON. Default: sample_input.json.")
    ] = None,
    deployment: Annotated[
        str | None, typer.Option("--deployment", help="Ask this one, whatever the traffic says.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--input", help="Data for a batch endpoint: a file or a folder; waits for the job.")
    ] = None,
    azure: Azure = False,
    subscription: Subscription = None,
    resource_group: ResourceGroup = None,
    workspace: Workspace = None,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Send an endpoint a request, with its key, and print the answer.

    Exit status: 0, 1 where it was answered with an error, 2 where nothing was sent, 130 where it was interrupted.

    **Examples**

        asset invoke bert-base-cased

        asset invoke bert-base-cased --request-file request.json --deployment green

        asset invoke bert-base-cased-batch --input rows.jsonl
    """
    from asset.cli.invoke import InvokeOptions, invoke
    from asset.cli.loop import Where

    where = Where(azure, state, subscription, resource_group, workspace)
    raise typer.Exit(invoke(InvokeOptions(endpoint, request_file, deployment, data, where, as_json)))


@deploy_app.command("submit")
def submit_command(
    file: Annotated[Path, typer.Option("--file", "-f", help="The job: an Azure ML pipeline job's YAML.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change an input, as for `asset run`.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Follow the job's log to its end.")] = False,
    subscription: Subscription = None,
    resource_group: ResourceGroup = None,
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """Submit a job to Azure, from the file that `asset run` runs here.

    The file and the settings are checked first, without a workspace.

    **Examples**

        asset submit -f evaluation/evaluate-model-fill-mask.yml --stream

        asset submit -f finetune/finetune-sentiment.yml --set inputs.num_train_epochs=3 --workspace mine
    """
    from asset.cli.loop import Where
    from asset.cli.submit import SubmitOptions, submit

    where = Where(True, None, subscription, resource_group, workspace)
    raise typer.Exit(submit(SubmitOptions(file, list(settings or []), stream, where, as_json)))
