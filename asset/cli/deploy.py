"""`asset deploy`: an endpoint or a deployment, from the file that Azure takes, here or there."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from asset.azure_sdk import load
from asset.checks.kinds import BATCH, DEPLOYMENTS, ENDPOINTS, Kind, yaml_kind
from asset.cli.loop import Where, run
from asset.findings import InvalidFileError
from asset.local.jobs.summary import program
from asset.yaml_file import YamlFile

ENDPOINT, DEPLOYMENT = "endpoint", "deployment"


@dataclass(frozen=True)
class DeployOptions:
    """What `asset deploy` was asked for; `traffic` is "blue=90,green=10"."""

    file: Path
    traffic: str | None = None
    where: Where = Where()
    as_json: bool = False


def deploy(options: DeployOptions) -> int:
    """Create or update what a file describes; return the exit status: 0, 1 it failed, 2 nothing was done, 130 interrupted."""
    return run(lambda console: _deploy(options, console), options.as_json)


def _deploy(options: DeployOptions, console: Console) -> dict[str, Any]:
    kind, what, file = read_kind(options.file)
    traffic = parse_traffic(options.traffic) if options.traffic else None
    if traffic is not None and kind == "batch":
        raise ValueError(
            "expected --traffic with an online endpoint or deployment alone, found a batch one; leave it out: a batch endpoint "
            "has a default deployment"
        )
    client = options.where.client()
    endpoints = client.online_endpoints if kind == "online" else client.batch_endpoints
    deployments = client.online_deployments if kind == "online" else client.batch_deployments
    entity = load(file, yaml_kind(file))
    if what == ENDPOINT:
        console.print(f"creating or updating the endpoint {entity.name}")
        endpoint = endpoints.begin_create_or_update(entity).result()
    else:
        name = str(file.data["endpoint_name"])
        _ensure_endpoint(kind, name, options.file, endpoints, console)
        console.print(f"deploying {entity.name} to the endpoint {name}", soft_wrap=True)
        deployments.begin_create_or_update(entity).result()
        endpoint = endpoints.get(name)
        if kind == "online" and traffic is None and not any(endpoint.traffic.values()):
            # Without traffic, nobody is answered.
            traffic = {str(entity.name): 100}
        if kind == "batch" and not _default_deployment(endpoint):
            endpoint.defaults = {"deployment_name": str(entity.name)}
            endpoint = endpoints.begin_create_or_update(endpoint).result()
    if traffic is not None:
        endpoint.traffic = traffic
        endpoints.begin_create_or_update(endpoint).result()
        endpoint = endpoints.get(endpoint.name)
    return _told(kind, endpoint, options, console)


def _told(kind: str, endpoint: Any, options: DeployOptions, console: Console) -> dict[str, Any]:  # noqa: ANN401
    command = shlex.join([program(), "invoke", *options.where.options, endpoint.name])
    told = {"endpoint": endpoint.name, "scoring_uri": endpoint.scoring_uri, "invoke": command}
    if kind == "online":
        told["traffic"] = endpoint.traffic
        shares = ", ".join(f"{name} {share} %" for name, share in endpoint.traffic.items()) or "no deployment yet"
        console.print(f"{endpoint.name} serves at {endpoint.scoring_uri}: {shares}", soft_wrap=True)
        if not any(endpoint.traffic.values()):
            return told
        told["invoke"] = f"{command} --request-file sample_input.json"
    else:
        told["invoke"] = f"{command} --input DATA"
    console.print(f"Ask it with\n  {told['invoke']}", soft_wrap=True)
    return told


def read_kind(path: Path) -> tuple[str, str, YamlFile]:
    """Return what a file describes, "online" or "batch" and "endpoint" or "deployment", and its content.

    Raises:
        ValueError: the file is not of an endpoint or a deployment.
        InvalidFileError: the file cannot be read.
    """
    file = YamlFile(path)
    kind = yaml_kind(file)
    if kind not in (*ENDPOINTS, *DEPLOYMENTS):
        what = f"is of another kind: {kind}" if kind else "has neither a $schema nor keys that say so"
        raise ValueError(
            f"{path} is not the file of an endpoint or a deployment; it {what}. Name another file, or write the $schema of "
            "Azure's reference, such as https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json"
        )
    if kind in DEPLOYMENTS and not file.data.get("endpoint_name"):
        raise ValueError(f"{path} has no endpoint_name; write the name of the endpoint")
    return "batch" if kind in BATCH else "online", ENDPOINT if kind in ENDPOINTS else DEPLOYMENT, file


def parse_traffic(text: str) -> dict[str, int]:
    """Return the shares that are written as "blue=90,green=10"; raises ValueError for another form."""
    try:
        pairs = [part.strip().split("=") for part in text.split(",")]
        return {name.strip().lower(): int(share) for name, share in pairs}
    except ValueError as exc:
        raise ValueError(f"expected traffic as blue=90,green=10, found {text!r}; write that") from exc


def _ensure_endpoint(kind: str, name: str, file: Path, endpoints: Any, console: Console) -> None:  # noqa: ANN401
    """Create the endpoint of a deployment where it is not there: from the file beside the deployment's, else with defaults."""
    from azure.ai.ml.entities import BatchEndpoint, ManagedOnlineEndpoint
    from azure.core.exceptions import ResourceNotFoundError

    try:
        endpoints.get(name)
        return
    except ResourceNotFoundError:
        pass
    if beside := endpoint_file(kind, name, file.resolve().parent):
        console.print(f"creating the endpoint {name}, from {beside.name}", soft_wrap=True)
        entity = load(YamlFile(beside), Kind.ONLINE_ENDPOINT if kind == "online" else Kind.BATCH_ENDPOINT)
        if kind == "online":
            # It has no deployments yet that could have any.
            entity.traffic, entity.mirror_traffic = {}, {}
        endpoints.begin_create_or_update(entity).result()
        return
    console.print(f"creating the endpoint {name}", soft_wrap=True)
    entity = ManagedOnlineEndpoint(name=name, auth_mode="key") if kind == "online" else BatchEndpoint(name=name)
    endpoints.begin_create_or_update(entity).result()


def endpoint_file(kind: str, name: str, folder: Path) -> Path | None:
    """Return the file of an endpoint in a folder; of several, one without traffic: others are of later steps."""
    found = []
    for beside in sorted(folder.glob("*.y*ml")):
        # Others are no files of Azure's, or cannot be read, as what an editor leaves beside the file that it has open.
        with contextlib.suppress(ValueError, InvalidFileError):
            its_kind, what, its = read_kind(beside)
            if (its_kind, what, str(its.data.get("name")).lower()) == (kind, ENDPOINT, name.lower()):
                found.append(("traffic" in its.data, beside))
    return min(found)[1] if found else None


def _default_deployment(endpoint: Any) -> str | None:  # noqa: ANN401
    defaults = endpoint.defaults
    return defaults.get("deployment_name") if isinstance(defaults, dict) else getattr(defaults, "deployment_name", None)
