"""Online endpoints and deployments of the client of this machine.

An endpoint is a process, and each of its deployments an inference server: see asset.local.endpoints.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.ai.ml._utils._endpoint_utils import validate_response
from azure.ai.ml.entities import EndpointAuthKeys, OnlineDeployment, OnlineEndpoint
from azure.core import PipelineClient
from azure.core.exceptions import ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest

from asset.local.client.assets import require_entity
from asset.local.client.deployment_parts import DeploymentParts
from asset.local.client.errors import invalid, translated
from asset.local.client.operations import Operations, begin, logger
from asset.local.client.resources import PREFIX, online_deployment, online_endpoint, online_endpoint_resource
from asset.local.endpoints.link import LocalEndpoint
from asset.local.endpoints.records import DeploymentRecord, EndpointFolder, EndpointRecord, Probe, endpoints

if TYPE_CHECKING:
    from azure.core.polling import LROPoller

KEYS = ("primary", "secondary")
PROBE = ("initial_delay", "period", "timeout", "failure_threshold")
STATES = {"failing": "Failed", "starting": "Updating", "restarting": "Updating"}
"""Azure's word for the status of a deployment that is not simply "Succeeded"."""


class _Endpoints(Operations):
    """What online endpoints and online deployments share."""

    def _endpoint(self, name: str | None) -> LocalEndpoint:
        """Return an endpoint; raises ResourceNotFoundError if it does not exist."""
        if not name:
            raise invalid("no endpoint is named; pass the name of an endpoint")
        with translated():
            endpoint = LocalEndpoint(EndpointFolder.of(self._state, name))
            endpoint.folder.read()
        return endpoint


class LocalOnlineEndpoints(_Endpoints):
    """Online endpoints."""

    named = "online_endpoints"

    def begin_create_or_update(self, endpoint: OnlineEndpoint, *, local: bool = False) -> LROPoller[OnlineEndpoint]:
        """Start an endpoint; if it exists, give it the new traffic and tags.

        `local` changes nothing: in MLClient it chooses Docker on this machine.
        """
        require_entity(endpoint, OnlineEndpoint)
        resource = online_endpoint_resource(endpoint)
        if resource["properties"]["authMode"] != "Key":
            raise invalid(
                f"auth_mode: {endpoint.auth_mode} works on Azure only; write auth_mode: key, or use client(local=False)"
            )
        if endpoint.mirror_traffic:
            raise invalid("mirror_traffic works on Azure only; leave it out")
        traffic = {name.lower(): int(share) for name, share in (endpoint.traffic or {}).items()}
        with translated():
            process = LocalEndpoint(EndpointFolder.of(self._state, str(endpoint.name)))

        def create() -> OnlineEndpoint:
            process.create(EndpointRecord(process.folder.name, traffic, resource))
            return self.get(str(endpoint.name))

        return begin(create)

    def begin_delete(self, name: str | None = None, *, local: bool = False) -> LROPoller[None]:
        """Stop an endpoint and remove all of it."""
        return begin(self._endpoint(name).delete)

    def get(self, name: str, *, local: bool = False) -> OnlineEndpoint:
        """Return an endpoint."""
        return _entity(self._endpoint(name))

    def list(self, *, local: bool = False) -> Iterator[OnlineEndpoint]:
        """Yield the endpoints of this machine."""
        return (_entity(LocalEndpoint(folder)) for folder in endpoints(self._state))

    def get_keys(self, name: str) -> EndpointAuthKeys:
        """Return the endpoint's keys."""
        keys = self._endpoint(name).keys()
        return EndpointAuthKeys(primary_key=keys.primary, secondary_key=keys.secondary)

    def begin_regenerate_keys(self, name: str, *, key_type: str = "primary") -> LROPoller[None]:
        """Replace the primary or the secondary key with a new key."""
        if key_type.lower() not in KEYS:
            raise invalid("Key type must be 'primary' or 'secondary'.")
        endpoint = self._endpoint(name)
        return begin(lambda: endpoint.exchange_key(key_type.lower()))

    def invoke(
        self,
        endpoint_name: str,
        *,
        request_file: str | os.PathLike[str] | None = None,
        deployment_name: str | None = None,
        input_data: object = None,
        params_override: object = None,
        local: bool = False,
        **kwargs: Any,  # noqa: ANN401
    ) -> str:
        """Send a file with a JSON request to the endpoint, and return the body of the answer.

        Raises:
            HttpResponseError: the answer is an error; as from MLClient, `response` has its status and headers.
        """
        self._refuse("invoke", input_data=input_data, params_override=params_override, **kwargs)
        if request_file is None:
            raise invalid("request_file is missing; pass the path of a file with a request in JSON")
        content = json.loads(Path(request_file).read_bytes())
        endpoint = self._endpoint(endpoint_name)
        if deployment_name and deployment_name.lower() not in endpoint.folder.deployments():
            raise invalid(f"Deployment name {deployment_name} not found for this endpoint")
        with translated():
            url = f"{endpoint.require_running().url}/score"
        headers = {"Authorization": f"Bearer {endpoint.keys().primary}"}
        if deployment_name:
            headers["azureml-model-deployment"] = deployment_name
        # Requests to this machine must not go through a proxy that the environment names.
        transport = RequestsTransport(use_env_settings=False)
        with PipelineClient(url, transport=transport, retry_policy=None) as client:
            response = client.send_request(HttpRequest("POST", url, headers=headers, json=content))
            validate_response(response)
            return str(response.text())


def _entity(endpoint: LocalEndpoint) -> OnlineEndpoint:
    """Return an endpoint as the SDK's entity."""
    with translated():
        record, daemon, state = endpoint.folder.read(), endpoint.running(), endpoint.describe()
    traffic = {name: state["traffic"].get(name, 0) for name in state["deployments"]}
    properties = {f"{PREFIX}status": "running" if daemon else "stopped", f"{PREFIX}folder": str(endpoint.folder.path)}
    return online_endpoint(record.name, record.resource, traffic, daemon.url if daemon else None, properties)


class LocalOnlineDeployments(_Endpoints):
    """Online deployments."""

    named = "online_deployments"

    def __init__(self, state: Path, parts: DeploymentParts) -> None:
        super().__init__(state)
        self._parts = parts

    def begin_create_or_update(
        self,
        deployment: OnlineDeployment,
        *,
        local: bool = False,
        vscode_debug: bool = False,
        skip_script_validation: bool = False,
        local_enable_gpu: bool = False,
        **kwargs: Any,  # noqa: ANN401
    ) -> LROPoller[OnlineDeployment]:
        """Start a deployment's server; if the deployment exists, replace its server once the new server is ready.

        A server runs from the files of this checkout as they are when it starts, not from a copy.
        """
        self._refuse("begin_create_or_update", vscode_debug=vscode_debug, local_enable_gpu=local_enable_gpu, **kwargs)
        require_entity(deployment, OnlineDeployment)
        endpoint = self._endpoint(str(deployment.endpoint_name))
        record = self._record(deployment, endpoint.folder, skip_script_validation)
        for warning in _warnings(deployment):
            logger.warning("%s", warning)

        def deploy() -> OnlineDeployment:
            endpoint.deploy(record)
            return self.get(record.name, endpoint.folder.name)

        return begin(deploy)

    def get(self, name: str, endpoint_name: str, *, local: bool | None = False) -> OnlineDeployment:
        """Return a deployment; its properties describe its server."""
        endpoint = self._endpoint(endpoint_name)
        records = endpoint.folder.deployments()
        if name.lower() not in records:
            raise ResourceNotFoundError(
                f"endpoint {endpoint_name} has no deployment {name} (it has: {', '.join(records) or 'none'})"
            )
        with translated():
            server = endpoint.describe()["deployments"].get(name.lower(), {"status": "stopped"})
        properties = {f"{PREFIX}{key}": str(value) for key, value in server.items() if value not in (None, "")}
        record = records[name.lower()]
        state = STATES.get(server["status"], "Succeeded")
        return online_deployment(endpoint.folder.name, record.name, record.resource, state, properties)

    def list(self, endpoint_name: str, *, local: bool = False) -> Iterator[OnlineDeployment]:
        """Yield an endpoint's deployments."""
        return (self.get(name, endpoint_name) for name in self._endpoint(endpoint_name).folder.deployments())

    def get_logs(
        self, name: str, endpoint_name: str, lines: int, *, container_type: str | None = None, local: bool = False
    ) -> str:
        """Return the last lines of a deployment's log, also if its server did not start."""
        if container_type not in (None, "inference-server"):
            self._refuse("get_logs", container_type=container_type)
        with translated():
            path = self._endpoint(endpoint_name).folder.deployment(name).log
        if not path.is_file():
            raise ResourceNotFoundError(
                f"deployment {name} of endpoint {endpoint_name} has no log at {path}; deploy it first"
            )
        with open(path, encoding="utf-8", errors="replace") as log:
            return "".join(deque(log, maxlen=lines))

    def begin_delete(self, name: str, endpoint_name: str, *, local: bool | None = False) -> LROPoller[None]:
        """Stop a deployment that has no traffic, and remove it."""
        endpoint = self._endpoint(endpoint_name)
        return begin(lambda: endpoint.delete_deployment(name.lower()))

    def _record(self, deployment: OnlineDeployment, endpoint: EndpointFolder, unchecked: bool) -> DeploymentRecord:
        """Return the record of a deployment, with all that its server needs to start."""
        with translated():
            folder = endpoint.deployment(str(deployment.name))
        parts = self._parts.of(deployment, unchecked)
        request, probe = deployment.request_settings, deployment.liveness_probe
        return DeploymentRecord(
            name=folder.path.name,
            python=str(parts.python),
            app_root=str(parts.code),
            script=parts.script,
            model=str(parts.model.link_in(folder.model)) if parts.model else None,
            variables={name: str(value) for name, value in (deployment.environment_variables or {}).items()},
            request_timeout=((request and request.request_timeout_ms) or 5000) / 1000,
            max_concurrent=(request and request.max_concurrent_requests_per_instance) or 1,
            probe=Probe(**{key: value for key in PROBE if (value := getattr(probe, key, None)) is not None}),
            resource=parts.resource,
        )


def _warnings(deployment: OnlineDeployment) -> Iterator[str]:
    """Yield a warning for each setting of a deployment that has no effect on this machine."""
    if (getattr(deployment, "instance_count", None) or 1) > 1:
        yield f"{deployment.name}: instance_count {deployment.instance_count} is ignored: this machine runs one server"
    if deployment.app_insights_enabled:
        yield f"{deployment.name}: app_insights_enabled is ignored: this machine sends nothing to Application Insights"
    collector = deployment.data_collector
    if collector and any(str(part.enabled).lower() == "true" for part in collector.collections.values()):
        yield f"{deployment.name}: data_collector is ignored: this machine collects no data"
