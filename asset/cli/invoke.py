"""`asset invoke`: send a request to an online endpoint or data to a batch endpoint, on this machine or on Azure."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from asset.cli.loop import FAILED, AsJson, Azure, ResourceGroup, Result, State, Subscription, Where, Workspace, perform
from asset.environments import ROOT
from asset.screen import Screen

SAMPLE = ROOT / "sample_input.json"


def invoke(
    endpoint: Annotated[str, typer.Argument(help="The endpoint's name.")],
    request_file: Annotated[
        Path | None, typer.Option("--request-file", help="A file with a request in JSON. Default: sample_input.json.")
    ] = None,
    deployment: Annotated[
        str | None, typer.Option("--deployment", help="Ask this deployment, whatever its share of the traffic is.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--input", help="Data for a batch endpoint, a file or a folder; waits for the end of the job."),
    ] = None,
    azure: Azure = False,
    subscription: Subscription = None,
    resource_group: ResourceGroup = None,
    workspace: Workspace = None,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Send a request to an endpoint, with its key, and print the answer.

    Exit status: 0 if it is answered, 1 if the answer is an error, 2 if nothing was sent, 130 if it was interrupted.

    **Examples**

        asset invoke bert-base-cased

        asset invoke bert-base-cased --request-file request.json --deployment green

        asset invoke bert-base-cased-batch --input rows.jsonl
    """
    where = Where(azure, state, subscription, resource_group, workspace)

    def work(screen: Screen) -> Result:
        if data is None:
            return _online(screen, endpoint, request_file or SAMPLE, deployment, where)
        if request_file is not None:
            raise ValueError(
                "leave out --request-file or --input: an online endpoint takes a request, a batch endpoint data"
            )
        return _batch(screen, endpoint, data, deployment, where)

    perform(work, as_json)


def _online(screen: Screen, endpoint: str, request_file: Path, deployment: str | None, where: Where) -> Result:
    from azure.core.exceptions import HttpResponseError

    try:
        json.loads(request_file.read_bytes())
    except ValueError as exc:
        raise ValueError(f"the request in {request_file} is not JSON: {exc}; correct it") from exc
    client = where.client()
    try:
        body = client.online_endpoints.invoke(endpoint, request_file=str(request_file), deployment_name=deployment)
    except HttpResponseError as exc:
        response = getattr(exc, "response", None)
        if response is None:
            raise
        return _error_answer(screen, response)
    answer: Any = body
    with contextlib.suppress(ValueError):
        answer = json.loads(body)
    text = body if answer is body else json.dumps(answer, ensure_ascii=False)
    return Result({"endpoint": endpoint, "answer": answer}, f"{text}\n")


def _error_answer(screen: Screen, response: Any) -> Result:  # noqa: ANN401  a response of azure.core
    """Show the answer of an endpoint that is an error."""
    model_status = response.headers.get("ms-azureml-model-error-statuscode")
    text = response.text()
    status = f"status {response.status_code}" + (f" (the model's: {model_status})" if model_status else "")
    screen.errors.print(f"the endpoint answered with {status}: {text.strip()}", markup=False, soft_wrap=True)
    answer = {
        "http_status": response.status_code,
        "model_status": int(model_status) if model_status else None,
        "message": text,
    }
    return Result(answer, status=FAILED)


def _batch(screen: Screen, endpoint: str, data: Path, deployment: str | None, where: Where) -> Result:
    from azure.ai.ml import Input

    if not data.exists():
        raise FileNotFoundError(f"there is no file or folder {data}; name your data")
    kind = "uri_folder" if data.is_dir() else "uri_file"
    client = where.client()
    job = client.batch_endpoints.invoke(
        endpoint, deployment_name=deployment, input=Input(type=kind, path=str(data.resolve()))
    )
    screen.say(f"job {job.name} has started; its log:")
    with contextlib.redirect_stdout(screen.console.file):
        client.jobs.stream(job.name)
    output = client.jobs.get(job.name).outputs
    path = str(output["score"].path) if "score" in output else None
    screen.say(f"finished: {path or job.name}")
    return Result({"endpoint": endpoint, "job": job.name, "output": path})
