"""The client of an Azure Machine Learning workspace: azure.ai.ml.MLClient itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azure.ai.ml import MLClient
from azure.ai.ml.exceptions import ValidationException
from azure.core.exceptions import ClientAuthenticationError

from registry.client.errors import NoWorkspaceError
from registry.workspace import VARIABLES, Workspace

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

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
