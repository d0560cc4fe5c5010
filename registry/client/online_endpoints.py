"""Online endpoints of the client of this machine: a process each, see registry.endpoints."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.ai.ml._utils._endpoint_utils import validate_response
from azure.ai.ml.entities import EndpointAuthKeys, OnlineEndpoint
from azure.core import PipelineClient
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest

from registry.client.errors import invalid, translated
from registry.client.operations import Operations
from registry.client.poller import begin
from registry.client.resources import PREFIX, online_endpoint, online_endpoint_resource
from registry.endpoints.link import LocalEndpoint
from registry.endpoints.records import EndpointFolder, EndpointRecord, endpoints

if TYPE_CHECKING:
    from azure.core.polling import LROPoller

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
