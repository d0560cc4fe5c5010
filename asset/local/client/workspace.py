"""The names of a workspace of Azure Machine Learning, and the environment variables that give them.

The client of an Azure Machine Learning workspace: azure.ai.ml.MLClient itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure.ai.ml import MLClient
from azure.ai.ml.exceptions import ValidationException
from azure.core.exceptions import ClientAuthenticationError

from asset.local.client.operations import NoWorkspaceError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential


VARIABLES = {
    # Set by Azure on its own computes, and what a person may set.
    "subscription_id": ("AZUREML_ARM_SUBSCRIPTION", "AZURE_SUBSCRIPTION_ID"),
    "resource_group_name": ("AZUREML_ARM_RESOURCEGROUP", "AZURE_RESOURCE_GROUP"),
    "workspace_name": ("AZUREML_ARM_WORKSPACE_NAME", "AZURE_WORKSPACE_NAME"),
}


@dataclass(frozen=True)
class Workspace:
    """The names of a workspace, as far as they are given."""

    subscription_id: str | None = None
    resource_group_name: str | None = None
    workspace_name: str | None = None

    def completed(self, environ: Mapping[str, str] = os.environ) -> Workspace:
        """Return it with what the environment says of the names that are not given."""
        found = {
            name: getattr(self, name) or next((environ[key] for key in keys if environ.get(key)), None)
            for name, keys in VARIABLES.items()
        }
        return Workspace(**found)

    @property
    def missing(self) -> list[str]:
        """Return which names it lacks."""
        return [name for name in VARIABLES if not getattr(self, name)]


SCOPE = "https://management.azure.com/.default"


def azure_client(workspace: Workspace, credential: TokenCredential | None, **kwargs: Any) -> MLClient:  # noqa: ANN401
    """Return MLClient for a workspace.

    Raises:
        NoWorkspaceError: no workspace is named, or nobody is signed in; the message says what to do.
    """
    given = workspace != Workspace()
    named = workspace.completed()
    if named.missing and given:
        raise NoWorkspaceError(_which(named))
    if credential is None:
        credential = _signed_in()
    if not named.missing:
        return MLClient(credential, named.subscription_id, named.resource_group_name, named.workspace_name, **kwargs)
    try:
        return MLClient.from_config(credential, **kwargs)
    except ValidationException as exc:
        raise NoWorkspaceError(f"{_which(named)} (config.json: {exc.message})") from exc


def _which(workspace: Workspace) -> str:
    names = ", ".join(workspace.missing)
    variables = ", ".join(VARIABLES[name][1] for name in workspace.missing)
    return (
        f"expected the name of an Azure Machine Learning workspace, found none for {names}; give them as arguments, as "
        f"{variables} in the environment, or download config.json from the workspace's page into this folder or one above"
    )


def _signed_in() -> TokenCredential:
    from azure.identity import DefaultAzureCredential

    credential = DefaultAzureCredential()
    try:
        credential.get_token(SCOPE)
    except ClientAuthenticationError as exc:
        raise NoWorkspaceError(
            "expected somebody to be signed in to Azure, found nobody; run `az login`, or set AZURE_TENANT_ID, "
            f"AZURE_CLIENT_ID and AZURE_CLIENT_SECRET. What was tried:\n{exc.message}"
        ) from exc
    return credential
