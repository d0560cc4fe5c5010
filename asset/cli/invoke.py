"""`asset invoke`: one request to an online endpoint, or a job of a batch endpoint, here or on Azure."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from asset.cli.loop import FAILED, Where, run
from asset.environments import ROOT

SAMPLE = ROOT / "sample_input.json"


@dataclass(frozen=True)
class InvokeOptions:
    """What `asset invoke` was asked for: a request file for an online endpoint, or input for a batch endpoint."""

    endpoint: str
    request_file: Path | None = None
    deployment: str | None = None
    input: Path | None = None
    where: Where = Where()
    as_json: bool = False


def invoke(options: InvokeOptions) -> int:
    """Send a request and print its answer; return the exit status: 0, 1 it failed, 2 nothing was sent, 130 interrupted."""
    if options.input is not None:
        return run(lambda console: _batch(options, console), options.as_json)
    return run(lambda console: _online(options, console), options.as_json)


def _online(options: InvokeOptions, console: Console) -> dict[str, Any]:
    from azure.core.exceptions import HttpResponseError

    file = options.request_file or SAMPLE
    try:
        json.loads(file.read_bytes())
    except ValueError as exc:
        raise ValueError(f"expected a request in JSON in {file}, found: {exc}; correct it") from exc
    client = options.where.client()
    try:
        body = client.online_endpoints.invoke(
            options.endpoint, request_file=str(file), deployment_name=options.deployment
        )
    except HttpResponseError as exc:
        response = getattr(exc, "response", None)
        if response is None:
            raise
        return _refused(response)
    answer: Any = body
    with contextlib.suppress(ValueError):
        answer = json.loads(body)
    if not options.as_json:
        sys.stdout.write((body if answer is body else json.dumps(answer, ensure_ascii=False)) + "\n")
    return {"endpoint": options.endpoint, "answer": answer}


def _refused(response: Any) -> dict[str, Any]:  # noqa: ANN401  azure.core's
    """Print an error's answer; return what --json prints of it."""
    model = response.headers.get("ms-azureml-model-error-statuscode")
    text = response.text()
    shown = f"status {response.status_code}" + (f" (the model's: {model})" if model else "")
    sys.stderr.write(f"expected an answer, found {shown}: {text.strip()}\n")
    return {
        "exit": FAILED,
        "http_status": response.status_code,
        "model_status": int(model) if model else None,
        "message": text,
    }


def _batch(options: InvokeOptions, console: Console) -> dict[str, Any]:
    from azure.ai.ml import Input

    if options.request_file is not None:
        raise ValueError(
            "expected --request-file or --input, found both; an online endpoint takes the first, a batch endpoint the second"
        )
    assert options.input is not None
    if not options.input.exists():
        raise FileNotFoundError(f"expected data at {options.input}, found nothing there; name a file or a folder")
    kind = "uri_folder" if options.input.is_dir() else "uri_file"
    client = options.where.client()
    job = client.batch_endpoints.invoke(
        options.endpoint, deployment_name=options.deployment, input=Input(type=kind, path=str(options.input.resolve()))
    )
    console.print(f"job {job.name} has started; its log:", soft_wrap=True)
    with contextlib.redirect_stdout(console.file):
        client.jobs.stream(job.name)
    output = client.jobs.get(job.name).outputs
    path = str(output["score"].path) if "score" in output else None
    console.print(f"finished: {path or job.name}", soft_wrap=True)
    return {"endpoint": options.endpoint, "job": job.name, "output": path}
