"""Online deployments of the client of this machine: an inference server each, see registry.endpoints.

Online endpoints of the client of this machine: a process each, see registry.endpoints.
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

from asset.local.client.deployment_parts import DeploymentParts
from asset.local.client.operations import Operations, begin, invalid, logger, translated
from asset.local.client.resources import PREFIX, online_deployment, online_endpoint, online_endpoint_resource
from asset.local.endpoints.link import LocalEndpoint
from asset.local.endpoints.records import DeploymentRecord, EndpointFolder, EndpointRecord, Probe, endpoints

if TYPE_CHECKING:
    from azure.core.polling import LROPoller


STATES = {"failing": "Failed", "starting": "Updating", "restarting": "Updating"}


class LocalOnlineDeployments(Operations):
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
        """Start a deployment's server; in the place of one of its name, when the new one serves.

        A deployment runs from the files of this checkout as they are at each start of its server, not from a copy.
        """
        self._refuse("begin_create_or_update", vscode_debug=vscode_debug, local_enable_gpu=local_enable_gpu, **kwargs)
        if not isinstance(deployment, OnlineDeployment):
            raise invalid(
                f"expected an OnlineDeployment of azure.ai.ml.entities, found {type(deployment).__name__}; load or build one"
            )
        found = self._endpoint(str(deployment.endpoint_name))
        record = self._record(deployment, found.folder, skip_script_validation)
        for warning in _warnings(deployment):
            logger.warning("%s", warning)

        def deploy() -> OnlineDeployment:
            found.deploy(record)
            return self.get(record.name, found.folder.name)

        return begin(deploy)

    def get(self, name: str, endpoint_name: str, *, local: bool | None = False) -> OnlineDeployment:
        """Return a deployment; its properties say how its server is."""
        found = self._endpoint(endpoint_name)
        records = found.folder.deployments()
        if name.lower() not in records:
            raise ResourceNotFoundError(
                f"expected one of the deployments of {endpoint_name} ({', '.join(records) or 'none'}), found the name {name}; "
                "name one of those"
            )
        with translated():
            told = found.describe()["deployments"].get(name.lower(), {"status": "stopped"})
        properties = {f"{PREFIX}{key}": str(value) for key, value in told.items() if value not in (None, "")}
        record = records[name.lower()]
        state = STATES.get(told["status"], "Succeeded")
        return online_deployment(found.folder.name, record.name, record.resource, state, properties)

    def list(self, endpoint_name: str, *, local: bool = False) -> Iterator[OnlineDeployment]:
        """Yield an endpoint's deployments."""
        found = self._endpoint(endpoint_name)
        return (self.get(name, endpoint_name) for name in found.folder.deployments())

    def get_logs(
        self, name: str, endpoint_name: str, lines: int, *, container_type: str | None = None, local: bool = False
    ) -> str:
        """Return the last lines of what the deployment's servers wrote, also of one that did not start."""
        if container_type not in (None, "inference-server"):
            self._refuse("get_logs", container_type=container_type)
        with translated():
            folder = self._endpoint(endpoint_name).folder.deployment(name)
        if not folder.log.is_file():
            raise ResourceNotFoundError(
                f"expected the log of deployment {name} of {endpoint_name}, found none at {folder.log}; deploy it first"
            )
        with open(folder.log, encoding="utf-8", errors="replace") as log:
            return "".join(deque(log, maxlen=lines))

    def begin_delete(self, name: str, endpoint_name: str, *, local: bool | None = False) -> LROPoller[None]:
        """Stop a deployment without traffic and remove it."""
        found = self._endpoint(endpoint_name)
        return begin(lambda: found.delete_deployment(name.lower()))

    def _endpoint(self, name: str) -> LocalEndpoint:
        with translated():
            found = LocalEndpoint(EndpointFolder.of(self._state, name))
            found.folder.read()
        return found

    def _record(self, deployment: OnlineDeployment, endpoint: EndpointFolder, unchecked: bool) -> DeploymentRecord:
        """Return what a deployment's server is started with."""
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


PROBE = ("initial_delay", "period", "timeout", "failure_threshold")


def _warnings(deployment: OnlineDeployment) -> Iterator[str]:
    """Say what of a deployment is for Azure alone."""
    if (getattr(deployment, "instance_count", None) or 1) > 1:
        yield f"{deployment.name}: instance_count {deployment.instance_count} is one server here"
    if deployment.app_insights_enabled:
        yield f"{deployment.name}: app_insights_enabled is for Azure: nothing is sent from here"
    collector = deployment.data_collector
    if collector and any(str(part.enabled).lower() == "true" for part in collector.collections.values()):
        yield f"{deployment.name}: data_collector is for Azure: nothing is collected here"


KEYS = ("primary", "secondary")


class LocalOnlineEndpoints(Operations):
    """Online endpoints."""

    named = "online_endpoints"

    def begin_create_or_update(self, endpoint: OnlineEndpoint, *, local: bool = False) -> LROPoller[OnlineEndpoint]:
        """Start an endpoint, or give one that is there another traffic and other tags.

        `local`, in MLClient the choice of Docker on this machine, is what happens here anyway.
        """
        if not isinstance(endpoint, OnlineEndpoint):
            raise invalid(
                f"expected an OnlineEndpoint of azure.ai.ml.entities, found {type(endpoint).__name__}; load or build one"
            )
        resource = online_endpoint_resource(endpoint)
        self._check(endpoint, resource)
        traffic = {name.lower(): int(share) for name, share in (endpoint.traffic or {}).items()}
        with translated():
            found = self._link(str(endpoint.name))

        def create() -> OnlineEndpoint:
            found.create(EndpointRecord(found.folder.name, traffic, resource))
            return self.get(str(endpoint.name))

        return begin(create)

    def begin_delete(self, name: str | None = None, *, local: bool = False) -> LROPoller[None]:
        """Stop an endpoint and remove all of it."""
        found = self._found(name)
        return begin(found.delete)

    def get(self, name: str, *, local: bool = False) -> OnlineEndpoint:
        """Return an endpoint."""
        return _entity(self._found(name))

    def list(self, *, local: bool = False) -> Iterator[OnlineEndpoint]:
        """Yield the endpoints of this machine."""
        return (_entity(LocalEndpoint(folder)) for folder in endpoints(self._state))

    def get_keys(self, name: str) -> EndpointAuthKeys:
        """Return the endpoint's keys."""
        keys = self._found(name).keys()
        return EndpointAuthKeys(primary_key=keys.primary, secondary_key=keys.secondary)

    def begin_regenerate_keys(self, name: str, *, key_type: str = "primary") -> LROPoller[None]:
        """Exchange one of the keys."""
        if key_type.lower() not in KEYS:
            raise invalid("Key type must be 'primary' or 'secondary'.")
        found = self._found(name)
        return begin(lambda: found.exchange_key(key_type.lower()))

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
        """Send the endpoint a file with a request in JSON, and return the body of its answer.

        Raises:
            HttpResponseError: it answered with an error; as from MLClient, `response` has its status and headers.
        """
        self._refuse("invoke", input_data=input_data, params_override=params_override, **kwargs)
        if request_file is None:
            raise invalid("expected request_file, a file with a request in JSON, found none; name one")
        content = json.loads(Path(request_file).read_bytes())
        found = self._found(endpoint_name)
        if deployment_name and deployment_name.lower() not in found.folder.deployments():
            raise invalid(f"Deployment name {deployment_name} not found for this endpoint")
        with translated():
            url = f"{found.require_running().url}/score"
        headers = {"Authorization": f"Bearer {found.keys().primary}"}
        if deployment_name:
            headers["azureml-model-deployment"] = deployment_name
        # A proxy that the environment names is not for requests to loopback.
        transport = RequestsTransport(use_env_settings=False)
        with PipelineClient(url, transport=transport, retry_policy=None) as client:
            response = client.send_request(HttpRequest("POST", url, headers=headers, json=content))
            validate_response(response)
            return str(response.text())

    def _link(self, name: str) -> LocalEndpoint:
        return LocalEndpoint(EndpointFolder.of(self._state, name))

    def _found(self, name: str | None) -> LocalEndpoint:
        """Return an endpoint that is there; raises ResourceNotFoundError for another name."""
        if not name:
            raise invalid("expected the name of an endpoint, found none; name one")
        with translated():
            found = self._link(name)
            found.folder.read()
        return found

    def _check(self, endpoint: OnlineEndpoint, resource: dict[str, Any]) -> None:
        """Refuse what an endpoint here does not do."""
        mode = resource["properties"]["authMode"]
        if mode != "Key":
            raise invalid(
                f"expected auth_mode: key, which is checked here as on Azure, found {endpoint.auth_mode}; write key, or use "
                "client(local=False)"
            )
        if endpoint.mirror_traffic:
            raise invalid("expected no mirror_traffic, which is Azure's alone, found some; leave it out")


def _entity(found: LocalEndpoint) -> OnlineEndpoint:
    with translated():
        record, daemon, told = found.folder.read(), found.running(), found.describe()
    traffic = {name: told["traffic"].get(name, 0) for name in told["deployments"]}
    properties = {f"{PREFIX}status": "running" if daemon else "stopped", f"{PREFIX}folder": str(found.folder.path)}
    return online_endpoint(record.name, record.resource, traffic, daemon.url if daemon else None, properties)
