"""A workspace of Azure Machine Learning: how it is named, and its client, azure.ai.ml.MLClient itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure.ai.ml import MLClient
from azure.ai.ml.exceptions import ValidationException
from azure.core.exceptions import ClientAuthenticationError

from asset.local.client.errors import ClientError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

VARIABLES = {
    "subscription_id": ("AZUREML_ARM_SUBSCRIPTION", "AZURE_SUBSCRIPTION_ID"),
    "resource_group_name": ("AZUREML_ARM_RESOURCEGROUP", "AZURE_RESOURCE_GROUP"),
    "workspace_name": ("AZUREML_ARM_WORKSPACE_NAME", "AZURE_WORKSPACE_NAME"),
}
"""The environment variables that name a workspace: the one that Azure sets on its computes, and the one for a user to set."""

SCOPE = "https://management.azure.com/.default"


@dataclass(frozen=True)
class Workspace:
    """The names of a workspace; None for a name that is not known."""

    subscription_id: str | None = None
    resource_group_name: str | None = None
    workspace_name: str | None = None

    def completed(self, environ: Mapping[str, str] = os.environ) -> Workspace:
        """Return the workspace with missing names taken from the environment variables."""
        names = {
            name: getattr(self, name) or next((environ[key] for key in keys if environ.get(key)), None)
            for name, keys in VARIABLES.items()
        }
        return Workspace(**names)

    @property
    def missing(self) -> list[str]:
        """Return which names are missing."""
        return [name for name in VARIABLES if not getattr(self, name)]


def azure_client(workspace: Workspace, credential: TokenCredential | None, **kwargs: Any) -> MLClient:  # noqa: ANN401
    """Return MLClient for a workspace.

    Raises:
        ClientError: no workspace is named, or nobody is signed in; the message says what to do.
    """
    completed = workspace.completed()
    if completed.missing and workspace != Workspace():
        raise ClientError(_how_to_name(completed))
    if credential is None:
        credential = _signed_in()
    if not completed.missing:
        return MLClient(
            credential, completed.subscription_id, completed.resource_group_name, completed.workspace_name, **kwargs
        )
    try:
        return MLClient.from_config(credential, **kwargs)
    except ValidationException as exc:
        raise ClientError(f"{_how_to_name(completed)} (config.json: {exc.message})") from exc


def _how_to_name(workspace: Workspace) -> str:
    names = ", ".join(workspace.missing)
    variables = ", ".join(VARIABLES[name][1] for name in workspace.missing)
    return (
        f"the Azure Machine Learning workspace is not named: {names} missing; pass them as arguments, set {variables} in the "
        "environment, or download config.json from the workspace's page into this folder or one above"
    )


def _signed_in() -> TokenCredential:
    """Return the default credential, after a check that it gets a token."""
    from azure.identity import DefaultAzureCredential

    credential = DefaultAzureCredential()
    try:
        credential.get_token(SCOPE)
    except ClientAuthenticationError as exc:
        raise ClientError(
            "nobody is signed in to Azure; run `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET. "
            f"What was tried:\n{exc.message}"
        ) from exc
    return credential
