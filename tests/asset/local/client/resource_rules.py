"""The rules of Azure's service for a resource: required fields, as in its REST reference, and ids that exist.

https://learn.microsoft.com/rest/api/azureml/
"""

from __future__ import annotations

import re
from typing import Any

Body = dict[str, Any]


class RefusedError(ValueError):
    """A resource for which the service would answer 400."""


def check(path: str, body: Body, known: set[str], root: str) -> None:
    """Refuse a resource that Azure would refuse.

    Args:
        path: below the workspace, as "models/bert/versions/17"; "batch invoke" for what a batch endpoint is asked.
        body: as it was sent.
        known: the paths of the resources that are there.
        root: the workspace's id.
    """
    for pattern, required in REQUIRED.items():
        if re.fullmatch(pattern, path):
            for field in required:
                if _value(body, field) in (None, "", {}, []):
                    raise RefusedError(f"{path}: {field} is required")
            for field in ID_FIELDS:
                _check_id(path, field, _value(body, field), known, root)
            for name, rule in RULES.items():
                if re.fullmatch(name, path):
                    rule(path, body, known, root)
            return
    raise RefusedError(f"there is no resource {path}")


ENDPOINT, DEPLOYMENT = r"{}Endpoints/[^/]+", r"{}Endpoints/[^/]+/deployments/[^/]+"
REQUIRED: dict[str, tuple[str, ...]] = {
    r"models/[^/]+/versions/[^/]+": ("properties.modelUri", "properties.modelType"),
    r"environments/[^/]+/versions/[^/]+": ("properties",),
    r"codes/[^/]+/versions/[^/]+": ("properties.codeUri",),
    r"components/[^/]+/versions/[^/]+": (
        "properties.componentSpec.type",
        "properties.componentSpec.name",
    ),
    r"jobs/[^/]+": ("properties.jobType", "properties.jobs", "properties.experimentName"),
    ENDPOINT.format("online"): ("location", "properties.authMode", "identity.type"),
    DEPLOYMENT.format("online"): (
        "location",
        "sku.capacity",
        "properties.endpointComputeType",
        "properties.instanceType",
        "properties.model",
        "properties.environmentId",
        "properties.codeConfiguration.codeId",
        "properties.codeConfiguration.scoringScript",
    ),
    ENDPOINT.format("batch"): ("location", "properties.authMode"),
    DEPLOYMENT.format("batch"): (
        "location",
        "properties.compute",
        "properties.model.assetId",
        "properties.environmentId",
        "properties.codeConfiguration.codeId",
        "properties.codeConfiguration.scoringScript",
    ),
    r"batch invoke": ("properties",),
}
ID_FIELDS = (
    "properties.environmentId",
    "properties.codeConfiguration.codeId",
    "properties.model.assetId",
    "properties.componentSpec.environment",
    "properties.componentSpec.code",
)


def _check_id(path: str, field: str, value: object, known: set[str], root: str) -> None:
    if value is None:
        return
    text = str(value).removeprefix("azureml:")
    if not text.startswith(root) or text[len(root) + 1 :] not in known:
        raise RefusedError(f"{path}: {field} names a resource that is not there: {value}")


def _environment(path: str, body: Body, known: set[str], root: str) -> None:
    if bool(_value(body, "properties.image")) == bool(_value(body, "properties.build.contextUri")):
        raise RefusedError(f"{path}: one of image and build is required")


def _component(path: str, body: Body, known: set[str], root: str) -> None:
    spec = body["properties"]["componentSpec"]
    required = {"command": ("command", "environment"), "pipeline": ("jobs",)}
    for field in required.get(spec["type"], ("type of Azure's",)):
        if not spec.get(field):
            raise RefusedError(f"{path}: properties.componentSpec.{field} is required")
    for name, step in (spec.get("jobs") or {}).items():
        _check_id(path, f"jobs.{name}.componentId", step.get("componentId") or "nothing", known, root)


def _online_endpoint(path: str, body: Body, known: set[str], root: str) -> None:
    if body["properties"]["authMode"] not in ("Key", "AMLToken", "AADToken"):
        raise RefusedError(f"{path}: no authMode of Azure's: {body['properties']['authMode']}")
    traffic = body["properties"].get("traffic") or {}
    for name in traffic:
        if f"{path}/deployments/{name}" not in known:
            raise RefusedError(f"{path}: there is no deployment {name}")
    if sum(traffic.values()) not in (0, 100):
        raise RefusedError(f"{path}: the traffic adds up to {sum(traffic.values())}")


def _online_deployment(path: str, body: Body, known: set[str], root: str) -> None:
    _check_id(path, "properties.model", body["properties"]["model"], known, root)
    timeout = _value(body, "properties.requestSettings.requestTimeout")
    if timeout is not None and not re.fullmatch(r"PT(\d+(\.\d+)?[HMS])+", timeout):
        raise RefusedError(f"{path}: no duration: {timeout}")


def _job(path: str, body: Body, known: set[str], root: str) -> None:
    if body["properties"]["jobType"] != "Pipeline":
        raise RefusedError(f"{path}: expected a pipeline, found {body['properties']['jobType']}")
    for name, step in body["properties"]["jobs"].items():
        _check_id(path, f"jobs.{name}.componentId", step.get("componentId") or "nothing", known, root)
    for name, port in body["properties"]["inputs"].items():
        if "jobInputType" not in port or ("uri" not in port and "value" not in port):
            raise RefusedError(f"{path}: input {name} has no type or no value")


RULES = {
    r"environments/.*": _environment,
    r"components/.*": _component,
    ENDPOINT.format("online"): _online_endpoint,
    DEPLOYMENT.format("online"): _online_deployment,
    r"jobs/[^/]+": _job,
}


def _value(body: Body, field: str) -> Any:  # noqa: ANN401
    found: Any = body
    for key in field.split("."):
        if not isinstance(found, dict) or key not in found:
            return None
        found = found[key]
    return found
