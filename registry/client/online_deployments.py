"""Online deployments of the client of this machine: an inference server each, see registry.endpoints."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.ai.ml.entities import OnlineDeployment
from azure.core.exceptions import ResourceNotFoundError

from registry.client.deployment_parts import DeploymentParts
from registry.client.errors import invalid, translated
from registry.client.operations import Operations, logger
from registry.client.poller import begin
from registry.client.resources import PREFIX, online_deployment
from registry.endpoints.link import LocalEndpoint
from registry.endpoints.records import DeploymentRecord, EndpointFolder, Probe

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
