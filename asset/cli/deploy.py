"""`asset deploy`: create or update an endpoint or a deployment from its YAML file, on this machine or on Azure."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from asset.cli.loop import AsJson, Azure, ResourceGroup, Result, State, Subscription, Where, Workspace, perform
from asset.screen import Screen

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import BatchEndpoint, OnlineEndpoint

    from asset.local.client.client import LocalClient
    from asset.yaml_file import YamlFile

ENDPOINT, DEPLOYMENT = "endpoint", "deployment"


def deploy(
    file: Annotated[Path, typer.Option("--file", "-f", help="The YAML file of an endpoint or a deployment.")],
    traffic: Annotated[
        str | None,
        typer.Option("--traffic", metavar="NAME=PERCENT,…", help="The endpoint's traffic, such as blue=90,green=10."),
    ] = None,
    azure: Azure = False,
    subscription: Subscription = None,
    resource_group: ResourceGroup = None,
    workspace: Workspace = None,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Deploy from the files that Azure takes, on this machine or with --azure in a workspace.

    On this machine, an endpoint is a process on 127.0.0.1 that keeps running. It checks keys, shares out the traffic and
    runs an inference server for each deployment. If the endpoint of a deployment does not exist, it is created: from its
    file in the deployment's folder, else with defaults. The first deployment gets all of the traffic. An existing
    deployment is replaced without losing a request.

    Exit status: 0 if it is deployed, 1 if it failed, 2 if nothing was done, 130 if it was interrupted.

    **Examples**

        asset deploy -f deployment/online-deployment-blue.yml

        asset deploy -f deployment/online-deployment-green.yml --traffic blue=90,green=10

        asset deploy -f deployment/batch-deployment.yml --azure --workspace mine --resource-group ours --subscription ID
    """
    where = Where(azure, state, subscription, resource_group, workspace)
    perform(lambda screen: _deploy(screen, file, traffic, where), as_json)


def _deploy(screen: Screen, file: Path, traffic: str | None, where: Where) -> Result:
    described = read_kind(file)
    shares = parse_traffic(traffic) if traffic else None
    if shares is not None and described.kind == "batch":
        raise ValueError(
            "--traffic is for an online endpoint or deployment alone; leave it out: a batch endpoint has a default deployment"
        )
    client = where.client()
    if described.kind == "online":
        endpoint = _deploy_online(screen, client, file, described, shares)
    else:
        endpoint = _deploy_batch(screen, client, file, described)
    return _result(screen, described.kind, endpoint, where)


def _deploy_online(
    screen: Screen, client: LocalClient | MLClient, file: Path, described: Described, traffic: dict[str, int] | None
) -> OnlineEndpoint:
    endpoints = client.online_endpoints
    endpoint, deployment = _create(screen, client, file, described)
    if deployment and traffic is None and not any(endpoint.traffic.values()):
        # An endpoint without traffic answers nobody.
        traffic = {deployment: 100}
    if traffic is None:
        return endpoint
    endpoint.traffic = traffic
    endpoints.begin_create_or_update(endpoint).result()
    return endpoints.get(endpoint.name)


def _deploy_batch(screen: Screen, client: LocalClient | MLClient, file: Path, described: Described) -> BatchEndpoint:
    endpoint, deployment = _create(screen, client, file, described)
    if not deployment or _default_deployment(endpoint):
        return endpoint
    endpoint.defaults = {"deployment_name": deployment}
    return client.batch_endpoints.begin_create_or_update(endpoint).result()


def _create(screen: Screen, client: LocalClient | MLClient, file: Path, described: Described) -> tuple[Any, str | None]:
    """Create or update what the file describes; return the endpoint, and the name of the deployment if it is a deployment."""
    kind = described.kind
    endpoints = client.online_endpoints if kind == "online" else client.batch_endpoints
    deployments = client.online_deployments if kind == "online" else client.batch_deployments
    entity = described.load()
    if described.entity == ENDPOINT:
        screen.say(f"creating or updating the endpoint {entity.name}")
        return endpoints.begin_create_or_update(entity).result(), None
    name = str(described.file.data["endpoint_name"])
    _ensure_endpoint(screen, kind, name, file, endpoints)
    screen.say(f"deploying {entity.name} to the endpoint {name}")
    deployments.begin_create_or_update(entity).result()
    return endpoints.get(name), str(entity.name)


def _result(screen: Screen, kind: str, endpoint: Any, where: Where) -> Result:  # noqa: ANN401
    """Show where the endpoint serves and the command that asks it."""
    from asset.local.jobs.summary import program

    command = shlex.join([program(), "invoke", *where.options, endpoint.name])
    answer = {"endpoint": endpoint.name, "scoring_uri": endpoint.scoring_uri, "invoke": command}
    if kind == "online":
        answer["traffic"] = endpoint.traffic
        shares = ", ".join(f"{name} {share} %" for name, share in endpoint.traffic.items()) or "no deployment yet"
        screen.say(f"{endpoint.name} serves at {endpoint.scoring_uri}: {shares}")
        if not any(endpoint.traffic.values()):
            return Result(answer)
        answer["invoke"] = f"{command} --request-file sample_input.json"
    else:
        answer["invoke"] = f"{command} --input DATA"
    screen.say(f"Ask it with\n  {answer['invoke']}")
    return Result(answer)


class Described(NamedTuple):
    """What a file describes: an "online" or "batch" kind of "endpoint" or "deployment"."""

    kind: str
    entity: str
    file: YamlFile

    def load(self) -> Any:  # noqa: ANN401  an entity of the SDK
        """Return the file as the Azure SDK loads it; raises InvalidFileError if the SDK refuses the file."""
        from asset import azure_sdk
        from asset.checks.kinds import yaml_kind

        return azure_sdk.load(self.file, yaml_kind(self.file))


def read_kind(path: Path) -> Described:
    """Return what the file of an endpoint or a deployment describes.

    Raises:
        ValueError: the file is not of an endpoint or a deployment.
        InvalidFileError: the file cannot be read.
    """
    from asset.checks.kinds import BATCH, DEPLOYMENTS, ENDPOINTS, yaml_kind
    from asset.yaml_file import YamlFile

    file = YamlFile(path)
    kind = yaml_kind(file)
    if kind not in (*ENDPOINTS, *DEPLOYMENTS):
        reason = f"is of another kind: {kind}" if kind else "has neither a $schema nor keys that say so"
        raise ValueError(
            f"{path} is not the file of an endpoint or a deployment; it {reason}. Name another file, or write the $schema of "
            "Azure's reference, such as https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json"
        )
    if kind in DEPLOYMENTS and not file.data.get("endpoint_name"):
        raise ValueError(f"{path} has no endpoint_name; write the name of the endpoint")
    return Described("batch" if kind in BATCH else "online", ENDPOINT if kind in ENDPOINTS else DEPLOYMENT, file)


def parse_traffic(text: str) -> dict[str, int]:
    """Return the shares of a text such as "blue=90,green=10"; raises ValueError for another form."""
    try:
        pairs = [part.strip().split("=") for part in text.split(",")]
        return {name.strip().lower(): int(share) for name, share in pairs}
    except ValueError as exc:
        raise ValueError(f"cannot read the traffic {text!r}; write it as in blue=90,green=10") from exc


def _ensure_endpoint(screen: Screen, kind: str, name: str, file: Path, endpoints: Any) -> None:  # noqa: ANN401
    """Create the endpoint of a deployment if there is none: from the file beside the deployment's, else with defaults."""
    from azure.ai.ml.entities import BatchEndpoint, ManagedOnlineEndpoint
    from azure.core.exceptions import ResourceNotFoundError

    try:
        endpoints.get(name)
        return
    except ResourceNotFoundError:
        pass
    if beside := endpoint_file(kind, name, file.resolve().parent):
        screen.say(f"creating the endpoint {name}, from {beside.file.path.name}")
        entity = beside.load()
        if kind == "online":
            # The endpoint has no deployments yet that could take traffic.
            entity.traffic, entity.mirror_traffic = {}, {}
    else:
        screen.say(f"creating the endpoint {name}")
        entity = ManagedOnlineEndpoint(name=name, auth_mode="key") if kind == "online" else BatchEndpoint(name=name)
    endpoints.begin_create_or_update(entity).result()


def endpoint_file(kind: str, name: str, folder: Path) -> Described | None:
    """Return the file of an endpoint in a folder.

    If there are several, a file without traffic is preferred: the others are for later steps.
    """
    from asset.findings import InvalidFileError

    files = []
    for path in sorted(folder.glob("*.y*ml")):
        # Other files may not be Azure's, or may be unreadable, such as the link that an editor leaves beside an open file.
        with contextlib.suppress(ValueError, InvalidFileError):
            described = read_kind(path)
            its_name = str(described.file.data.get("name")).lower()
            if (described.kind, described.entity, its_name) == (kind, ENDPOINT, name.lower()):
                files.append(described)
    return min(files, key=lambda described: "traffic" in described.file.data, default=None)


def _default_deployment(endpoint: Any) -> str | None:  # noqa: ANN401
    defaults = endpoint.defaults
    return defaults.get("deployment_name") if isinstance(defaults, dict) else getattr(defaults, "deployment_name", None)
