"""The client of this machine: MLClient's sub-objects over what is in one folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from azure.ai.ml.entities import (
    BatchDeployment,
    BatchEndpoint,
    Component,
    Data,
    Environment,
    Job,
    Model,
    ModelBatchDeployment,
    OnlineDeployment,
    OnlineEndpoint,
)
from azure.core.exceptions import ResourceNotFoundError

from asset.checks.pipeline.data import ASSET, OwnModel
from asset.local.client.assets import LocalComponents, LocalData, LocalEnvironments
from asset.local.client.batch import LocalBatchDeployments, LocalBatchEndpoints
from asset.local.client.deployment_parts import DeploymentParts, virtual_environment
from asset.local.client.job_file import JobWriter
from asset.local.client.jobs import LocalJobs
from asset.local.client.models import LocalModels
from asset.local.client.online import LocalOnlineDeployments, LocalOnlineEndpoints
from asset.local.client.operations import UnsupportedError

LOCAL = "local"
SUB_OBJECTS = (
    "models",
    "environments",
    "components",
    "data",
    "jobs",
    "online_endpoints",
    "online_deployments",
    "batch_endpoints",
    "batch_deployments",
)


class LocalClient:
    """A client whose workspace is the folder of local state."""

    workspace_name = resource_group_name = subscription_id = LOCAL

    def __init__(self, state: Path) -> None:
        """Take the folder of local state; it is made when something is kept in it."""
        self.state = state
        self.models = LocalModels(state)
        self.environments = LocalEnvironments(state)
        self.components = LocalComponents(state)
        self.data = LocalData(state)
        self.online_endpoints = LocalOnlineEndpoints(state)
        parts = DeploymentParts(self.models, self.environments)
        self.online_deployments = LocalOnlineDeployments(state, parts)
        self.batch_deployments = LocalBatchDeployments(state, parts)
        self.batch_endpoints = LocalBatchEndpoints(state, self.batch_deployments, self._path_of)
        writer = JobWriter(
            self._path_of, self._component, lambda environment: virtual_environment(environment, self.environments)
        )
        self.jobs = LocalJobs(state, writer)

    def __repr__(self) -> str:
        return f"LocalClient({str(self.state)!r})"

    def __getattr__(self, name: str) -> NoReturn:
        raise UnsupportedError(f"{name} is Azure's alone; here there are {', '.join(SUB_OBJECTS)}")

    def create_or_update(self, entity: Any, **kwargs: Any) -> Any:  # noqa: ANN401  as MLClient has it
        """Keep or start an entity: a job, a model, an environment, a component or a data asset."""
        return self._of(
            entity,
            (Job, self.jobs.create_or_update),
            (Model, self.models.create_or_update),
            (Environment, self.environments.create_or_update),
            (Component, self.components.create_or_update),
            (Data, self.data.create_or_update),
        )(entity, **kwargs)

    def begin_create_or_update(self, entity: Any, **kwargs: Any) -> Any:  # noqa: ANN401  as MLClient has it
        """Begin to create or update an endpoint or a deployment."""
        return self._of(
            entity,
            (OnlineEndpoint, self.online_endpoints.begin_create_or_update),
            (OnlineDeployment, self.online_deployments.begin_create_or_update),
            (BatchEndpoint, self.batch_endpoints.begin_create_or_update),
            ((BatchDeployment, ModelBatchDeployment), self.batch_deployments.begin_create_or_update),
        )(entity, **kwargs)

    def _of(self, entity: object, *kinds: tuple[Any, Callable[..., Any]]) -> Callable[..., Any]:
        for kind, act in kinds:
            if isinstance(entity, kind):
                return act
        names = ", ".join(getattr(kind, "__name__", "BatchDeployment") for kind, _ in kinds)
        raise TypeError(f"expected one of the entities {names}, found {type(entity).__name__}; pass one of those")

    def _path_of(self, reference: str) -> str | None:
        """Return where a registered data asset or model lies; None for another one.

        The model asset of this checkout is another one: what runs a job finds it by itself, and says what stands for it.
        """
        match, own = ASSET.fullmatch(reference), OwnModel.read()
        if match is None:
            return None
        named = (match["name"], match["version"], match["label"])
        with contextlib.suppress(ResourceNotFoundError):
            return str(self.data.get(*named).path)
        found = self.models.registered(*named)
        ours = own.is_named(reference) and found is not None and Path(str(found.path)) == own.folder
        return None if found is None or ours else str(found.path)

    def _component(self, reference: str) -> Component:
        match = ASSET.fullmatch(reference if reference.startswith("azureml:") else f"azureml:{reference}")
        if match is None:
            raise UnsupportedError(
                f"expected a component as azureml:NAME:VERSION, found {reference}; name one of those"
            )
        return self.components.get(match["name"], match["version"], match["label"])
