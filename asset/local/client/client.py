"""The client: one function that returns a client of this machine or of an Azure Machine Learning workspace.

    from asset import client

    ml_client = client(local=True)
    ml_client.online_endpoints.begin_create_or_update(load_online_endpoint("deployment/online-endpoint.yml")).result()

Both clients have the sub-objects and methods of azure.ai.ml.MLClient, and take and return the Azure SDK's own entities and
errors. The client of this machine keeps its state in one folder and refuses what only Azure supports.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, overload

from azure.ai.ml.entities import (
    BatchDeployment,
    BatchEndpoint,
    Component,
    Data,
    Environment,
    Job,
    Model,
    OnlineDeployment,
    OnlineEndpoint,
)
from azure.core.exceptions import ResourceNotFoundError

from asset.checks.pipeline.data import ASSET, OwnModel
from asset.local.client.assets import LocalComponents, LocalData, LocalEnvironments
from asset.local.client.batch import LocalBatchDeployments, LocalBatchEndpoints
from asset.local.client.deployment_parts import DeploymentParts, virtual_environment
from asset.local.client.errors import UnsupportedError
from asset.local.client.job_file import JobWriter
from asset.local.client.jobs import LocalJobs
from asset.local.client.models import LocalModels
from asset.local.client.online import LocalOnlineDeployments, LocalOnlineEndpoints
from asset.local.client.workspace import Workspace, azure_client
from asset.local.processes import ROOT

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential


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


@overload
def client(local: Literal[True] = True, *, asset_dir: Path | str | None = None) -> LocalClient: ...


@overload
def client(
    local: Literal[False],
    *,
    credential: TokenCredential | None = None,
    subscription_id: str | None = None,
    resource_group_name: str | None = None,
    workspace_name: str | None = None,
    **kwargs: Any,  # noqa: ANN401
) -> MLClient: ...


def client(
    local: bool = True,
    *,
    asset_dir: Path | str | None = None,
    credential: TokenCredential | None = None,
    subscription_id: str | None = None,
    resource_group_name: str | None = None,
    workspace_name: str | None = None,
    **kwargs: Any,  # noqa: ANN401
) -> LocalClient | MLClient:
    """Return a client of this machine, or of an Azure Machine Learning workspace.

    With local=True the names of a workspace are ignored, so that a notebook can always pass them.

    Args:
        local: True for this machine, False for Azure.
        asset_dir: the folder of local state. Default: the environment variable ASSET_DIR, else .asset in the checkout.
        credential: the credential for Azure. Default: azure-identity's DefaultAzureCredential, which uses `az login`.
        subscription_id: the workspace's subscription. Default: AZUREML_ARM_SUBSCRIPTION or AZURE_SUBSCRIPTION_ID.
        resource_group_name: its resource group. Default: AZUREML_ARM_RESOURCEGROUP or AZURE_RESOURCE_GROUP.
        workspace_name: its name. Default: AZUREML_ARM_WORKSPACE_NAME or AZURE_WORKSPACE_NAME. If no name is passed and the
            environment lacks any, all come from a config.json in this folder or above, as MLClient.from_config reads it.
        **kwargs: more arguments for MLClient.

    Raises:
        ClientError: local=False, and no workspace is named or nobody is signed in; the message says what to do.
    """
    if local:
        return LocalClient(Path(asset_dir or os.environ.get("ASSET_DIR") or ROOT / ".asset").absolute())
    workspace = Workspace(subscription_id, resource_group_name, workspace_name)
    return azure_client(workspace, credential, **kwargs)


class LocalClient:
    """The client of this machine. Its workspace is a folder of local state."""

    workspace_name = resource_group_name = subscription_id = "local"

    def __init__(self, state: Path) -> None:
        """Use a folder of local state; it is made when something is first kept in it."""
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
        raise UnsupportedError(f"only Azure supports {name}; the client of this machine has {', '.join(SUB_OBJECTS)}")

    def create_or_update(self, entity: Any, **kwargs: Any) -> Any:  # noqa: ANN401  as MLClient has it
        """Create or update a job, a model, an environment, a component or a data asset."""
        return _method_for(
            entity,
            (Job, self.jobs.create_or_update),
            (Model, self.models.create_or_update),
            (Environment, self.environments.create_or_update),
            (Component, self.components.create_or_update),
            (Data, self.data.create_or_update),
        )(entity, **kwargs)

    def begin_create_or_update(self, entity: Any, **kwargs: Any) -> Any:  # noqa: ANN401  as MLClient has it
        """Begin to create or update an endpoint or a deployment."""
        return _method_for(
            entity,
            (OnlineEndpoint, self.online_endpoints.begin_create_or_update),
            (OnlineDeployment, self.online_deployments.begin_create_or_update),
            (BatchEndpoint, self.batch_endpoints.begin_create_or_update),
            (BatchDeployment, self.batch_deployments.begin_create_or_update),
        )(entity, **kwargs)

    def _path_of(self, reference: str) -> str | None:
        """Return the path of a registered data asset or model; None if the reference names neither.

        None also for this checkout's own model asset: the runner of jobs finds it and warns about the embedded model.
        """
        match, own = ASSET.fullmatch(reference), OwnModel.read()
        if match is None:
            return None
        names = (match["name"], match["version"], match["label"])
        with contextlib.suppress(ResourceNotFoundError):
            return str(self.data.get(*names).path)
        model = self.models.registered(*names)
        if model is None or (own.is_named(reference) and Path(str(model.path)) == own.folder):
            return None
        return str(model.path)

    def _component(self, reference: str) -> Component:
        """Return a registered component; the Azure SDK may have taken the prefix azureml: off the reference."""
        match = ASSET.fullmatch(f"azureml:{reference.removeprefix('azureml:')}")
        if match is None:
            raise UnsupportedError(f"{reference} is not a component of this machine; name it as azureml:NAME:VERSION")
        return self.components.get(match["name"], match["version"], match["label"])


def _method_for(entity: object, *methods: tuple[type, Callable[..., Any]]) -> Callable[..., Any]:
    """Return the method for the first kind that an entity is an instance of."""
    for kind, method in methods:
        if isinstance(entity, kind):
            return method
    kinds = ", ".join(kind.__name__ for kind, _ in methods)
    raise TypeError(f"expected one of the entities {kinds}, found {type(entity).__name__}")
