"""Endpoints and deployments: the SDK's entities to and from the JSON that Azure's service stores.

The SDK's own code turns an entity into JSON and checks it; fields that the service would fill in are filled in here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azure.ai.ml._restclient.arm_ml_service import models
from azure.ai.ml.entities import BatchDeployment, BatchEndpoint, OnlineDeployment, OnlineEndpoint

from asset.azure_sdk import quiet

LOCATION = "local"
PREFIX = "asset."
"""The prefix of properties that describe the state of an endpoint or a deployment."""
WORKSPACE = "/subscriptions/local/resourceGroups/local/providers/Microsoft.MachineLearningServices/workspaces/local"
Resource = dict[str, Any]


def online_endpoint_resource(endpoint: OnlineEndpoint) -> Resource:
    """Return an online endpoint's JSON."""
    return _without_state(endpoint._to_rest_online_endpoint(LOCATION).as_dict())


def online_endpoint(
    name: str, resource: Resource, traffic: Mapping[str, int], address: str | None, properties: Mapping[str, str]
) -> OnlineEndpoint:
    """Return an online endpoint with its traffic, and with its addresses if its process runs."""
    state = {
        "traffic": dict(traffic),
        "scoringUri": f"{address}/score" if address else None,
        "swaggerUri": f"{address}/swagger.json" if address else None,
        "properties": {**resource["properties"].get("properties", {}), **properties},
    }
    complete = _completed(resource, f"onlineEndpoints/{name}", state)
    return OnlineEndpoint._from_rest_object(models.OnlineEndpoint(complete))


def deployment_resource(deployment: OnlineDeployment | BatchDeployment) -> Resource:
    """Return a deployment's JSON."""
    return _without_state(deployment._to_rest_object(location=LOCATION).as_dict())


def online_deployment(
    endpoint: str, name: str, resource: Resource, provisioning_state: str, properties: Mapping[str, str]
) -> OnlineDeployment:
    """Return an online deployment in a provisioning state, such as "Succeeded"."""
    state = {
        "provisioningState": provisioning_state,
        "properties": {**resource["properties"].get("properties", {}), **properties},
        "scaleSettings": resource["properties"].get("scaleSettings") or {"scaleType": "Default"},
    }
    complete = _completed(resource, f"onlineEndpoints/{endpoint}/deployments/{name}", state)
    with quiet():
        loaded = OnlineDeployment._from_rest_object(models.OnlineDeployment(complete))
    loaded.endpoint_name = endpoint
    return loaded


def batch_endpoint_resource(endpoint: BatchEndpoint) -> Resource:
    """Return a batch endpoint's JSON."""
    return endpoint._to_rest_batch_endpoint(LOCATION).as_dict()


def batch_endpoint(name: str, resource: Resource) -> BatchEndpoint:
    """Return a batch endpoint."""
    complete = _completed(resource, f"batchEndpoints/{name}", {"scoringUri": None})
    return BatchEndpoint._from_rest_object(models.BatchEndpoint(complete))


def batch_deployment(endpoint: str, name: str, resource: Resource) -> BatchDeployment:
    """Return a batch deployment."""
    complete = _completed(resource, f"batchEndpoints/{endpoint}/deployments/{name}", {})
    with quiet():
        loaded = BatchDeployment._from_rest_object(models.BatchDeployment(complete))
    loaded.endpoint_name = endpoint
    return loaded


def _without_state(resource: Resource) -> Resource:
    """Return a resource without the properties of its state, which an entity returned from here carries back."""
    properties = resource["properties"].get("properties") or {}
    kept = {name: value for name, value in properties.items() if not name.startswith(PREFIX)}
    return {**resource, "properties": {**resource["properties"], "properties": kept}}


def _completed(resource: Resource, path: str, state: Resource) -> Resource:
    """Return a resource with its id, its name and its state."""
    properties = {"provisioningState": "Succeeded", **resource["properties"], **state}
    return {**resource, "id": f"{WORKSPACE}/{path}", "name": path.rpartition("/")[2], "properties": properties}
