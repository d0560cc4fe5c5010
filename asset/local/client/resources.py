"""Endpoints and deployments between the SDK's entities and the JSON that Azure's service has of them.

An entity becomes JSON by the SDK's own code, which checks it; what the service would fill in is filled in here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from azure.ai.ml._restclient.arm_ml_service import models
from azure.ai.ml.entities import BatchDeployment, BatchEndpoint, OnlineDeployment, OnlineEndpoint

from asset.azure_sdk import quiet

LOCATION = "local"
PREFIX = "asset."
"""What properties begin with that tell how an endpoint or a deployment is."""
WORKSPACE = "/subscriptions/local/resourceGroups/local/providers/Microsoft.MachineLearningServices/workspaces/local"
T = TypeVar("T")
Resource = dict[str, Any]


def online_endpoint_resource(endpoint: OnlineEndpoint) -> Resource:
    """Return an online endpoint's JSON."""
    return _asked(endpoint._to_rest_online_endpoint(LOCATION).as_dict())


def online_endpoint(
    name: str, resource: Resource, traffic: Mapping[str, int], address: str | None, properties: Mapping[str, str]
) -> OnlineEndpoint:
    """Return an online endpoint with its traffic, and its addresses where its process runs."""
    told = {
        "traffic": dict(traffic),
        "scoringUri": f"{address}/score" if address else None,
        "swaggerUri": f"{address}/swagger.json" if address else None,
        "properties": {**resource["properties"].get("properties", {}), **properties},
    }
    whole = _completed(resource, f"onlineEndpoints/{name}", told)
    return OnlineEndpoint._from_rest_object(models.OnlineEndpoint(whole))


def deployment_resource(deployment: OnlineDeployment | BatchDeployment) -> Resource:
    """Return a deployment's JSON."""
    return _asked(deployment._to_rest_object(location=LOCATION).as_dict())


def online_deployment(
    endpoint: str, name: str, resource: Resource, state: str, properties: Mapping[str, str]
) -> OnlineDeployment:
    """Return an online deployment in a state, as "Succeeded"."""
    told = {"provisioningState": state, "properties": {**resource["properties"].get("properties", {}), **properties}}
    told["scaleSettings"] = resource["properties"].get("scaleSettings") or {"scaleType": "Default"}
    whole = _completed(resource, f"onlineEndpoints/{endpoint}/deployments/{name}", told)
    with quiet():
        loaded = OnlineDeployment._from_rest_object(models.OnlineDeployment(whole))
    loaded.endpoint_name = endpoint
    return loaded


def batch_endpoint_resource(endpoint: BatchEndpoint) -> Resource:
    """Return a batch endpoint's JSON."""
    return endpoint._to_rest_batch_endpoint(LOCATION).as_dict()


def batch_endpoint(name: str, resource: Resource) -> BatchEndpoint:
    """Return a batch endpoint."""
    return BatchEndpoint._from_rest_object(
        models.BatchEndpoint(_completed(resource, f"batchEndpoints/{name}", {"scoringUri": None}))
    )


def batch_deployment(endpoint: str, name: str, resource: Resource) -> BatchDeployment:
    """Return a batch deployment."""
    whole = _completed(resource, f"batchEndpoints/{endpoint}/deployments/{name}", {})
    with quiet():
        loaded = BatchDeployment._from_rest_object(models.BatchDeployment(whole))
    loaded.endpoint_name = endpoint
    return loaded


def _asked(resource: Resource) -> Resource:
    """Return a resource without what an entity that was returned from here has been told of its state."""
    told = resource["properties"].get("properties") or {}
    kept = {name: value for name, value in told.items() if not name.startswith(PREFIX)}
    return {**resource, "properties": {**resource["properties"], "properties": kept}}


def _completed(resource: Resource, path: str, told: Resource) -> Resource:
    """Return a resource with its id, its name and what is told of it."""
    properties = {"provisioningState": "Succeeded", **resource["properties"], **told}
    return {**resource, "id": f"{WORKSPACE}/{path}", "name": path.rpartition("/")[2], "properties": properties}
