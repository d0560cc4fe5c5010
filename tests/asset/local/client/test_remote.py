"""local=False returns MLClient itself, or says what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import azure.identity
import pytest
from azure.ai.ml import MLClient
from azure.core.exceptions import ClientAuthenticationError

from asset import client
from asset.local.client.errors import ClientError
from asset.local.client.workspace import VARIABLES
from tests.asset.local.client.fake_azure import Credential

NAMES = {"subscription_id": "s", "resource_group_name": "g", "workspace_name": "w"}


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variables in VARIABLES.values():
        for name in variables:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def names(ml_client: MLClient) -> tuple[str | None, ...]:
    return ml_client.subscription_id, ml_client.resource_group_name, ml_client.workspace_name


def test_local_false_returns_mlclient_itself() -> None:
    ml_client = client(local=False, credential=Credential(), **NAMES, enable_telemetry=False)
    assert type(ml_client) is MLClient
    assert names(ml_client) == ("s", "g", "w")


def test_the_environment_completes_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "of the environment")
    monkeypatch.setenv("AZUREML_ARM_RESOURCEGROUP", "a group")
    ml_client = client(local=False, credential=Credential(), workspace_name="mine", enable_telemetry=False)
    assert names(ml_client) == ("of the environment", "a group", "mine")


def test_config_json_names_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"subscription_id": "of the file", "resource_group": "g", "workspace_name": "w"}
    (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert names(client(local=False, credential=Credential(), enable_telemetry=False)) == ("of the file", "g", "w")


def test_without_a_workspace_the_error_says_how_to_name_one() -> None:
    with pytest.raises(ClientError, match=r"subscription_id, resource_group_name missing; .*AZURE_RESOURCE_GROUP"):
        client(local=False, credential=Credential(), workspace_name="mine")
    with pytest.raises(ClientError, match="download config.json from the workspace's page"):
        client(local=False, credential=Credential())


def test_without_a_sign_in_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nobody:
        def get_token(self, *scopes: str) -> None:
            raise ClientAuthenticationError("AzureCliCredential: Please run 'az login'")

    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", Nobody)
    with pytest.raises(ClientError, match="(?s)nobody is signed in to Azure; run `az login`.*AzureCliCredential"):
        client(local=False, **NAMES)
