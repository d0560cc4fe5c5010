"""One client for this machine and for Azure: `asset.local.client(local=True)` has the sub-objects and methods of MLClient.

    ml_client = asset.local.client(local=True)
    ml_client.online_endpoints.begin_create_or_update(load_online_endpoint("deployment/online-endpoint.yml")).result()

What it takes and returns are the Azure SDK's own entities, and so are the errors where MLClient raises one. What a method
cannot do here is refused. local=False returns azure.ai.ml.MLClient itself.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

    from asset.local.client.local import LocalClient


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

    Args:
        local: whether it is this machine's.
        asset_dir: the folder of local state; else that of the environment variable ASSET_DIR, else .asset in the checkout.
        credential: who signs in to Azure; else what azure-identity's DefaultAzureCredential finds, as after `az login`.
        subscription_id: the workspace's; else that of the environment (AZUREML_ARM_SUBSCRIPTION, AZURE_SUBSCRIPTION_ID).
        resource_group_name: the same (AZUREML_ARM_RESOURCEGROUP, AZURE_RESOURCE_GROUP).
        workspace_name: the same (AZUREML_ARM_WORKSPACE_NAME, AZURE_WORKSPACE_NAME). Where none of the three is given and
            the environment lacks one, all come from a config.json here or above, as MLClient.from_config reads it.
        **kwargs: for MLClient.

    Raises:
        NoWorkspaceError: local=False, and no workspace is named, or nobody is signed in; the message says what to do.
    """
    if local:
        from asset.environments import ROOT
        from asset.local.client.local import LocalClient

        # The switch alone says where: a notebook names its workspace once, and does not need it here.
        return LocalClient(Path(asset_dir or os.environ.get("ASSET_DIR") or ROOT / ".asset").absolute())
    from asset.local.client.workspace import Workspace, azure_client

    workspace = Workspace(subscription_id, resource_group_name, workspace_name)
    return azure_client(workspace, credential, **kwargs)


class _Callable(types.ModuleType):
    """This module under its name in the package: `asset.local.client(local=True)` works whoever imported it first."""

    def __call__(self, local: bool = True, **given: Any) -> LocalClient | MLClient:  # noqa: ANN401
        return client(local, **given)  # type: ignore[call-overload]


sys.modules[__name__].__class__ = _Callable
