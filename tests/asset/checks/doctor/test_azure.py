"""A workspace and a sign-in are found without a network, and nothing secret is told."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from azure.ai.ml import MLClient
from azure.identity import ClientSecretCredential

from asset.checks.doctor import azure
from asset.checks.doctor.check import Machine

CONFIG = {"subscription_id": "11111111-2222", "resource_group": "group", "workspace_name": "space"}
PRINCIPAL = {"AZURE_TENANT_ID": "11111111-2222", "AZURE_CLIENT_ID": "client"}


def write(folder: Path, config: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))


def test_a_workspace_that_is_not_named_is_wrong(machine: Machine, with_variables: Callable[..., Machine]) -> None:
    check = azure.workspace(machine)
    assert check.severity == "error"
    assert "AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP, AZURE_WORKSPACE_NAME" in check.fix
    check = azure.workspace(with_variables(AZURE_SUBSCRIPTION_ID="11111111-2222", AZURE_RESOURCE_GROUP="group"))
    assert (check.severity, check.fix.partition(";")[0]) == ("error", "set AZURE_WORKSPACE_NAME")


def test_a_workspace_of_the_environment_is_found(with_variables: Callable[..., Machine]) -> None:
    names = {"AZURE_SUBSCRIPTION_ID": "11111111-2222", "AZUREML_ARM_RESOURCEGROUP": "group"}
    check = azure.workspace(with_variables(**names, AZURE_WORKSPACE_NAME="space"))
    assert check.severity == "ok"
    assert "11111111" not in check.message


@pytest.mark.parametrize("place", [".azureml", "../.azureml", "..", "aml_config"])
def test_a_config_is_found_where_the_sdk_finds_it(
    machine: Machine, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(machine.root / place, CONFIG)
    check = azure.workspace(machine)
    assert check.severity == "ok"
    assert check.message.endswith("config.json, workspace space")
    monkeypatch.chdir(machine.root)
    nobody = ClientSecretCredential("tenant", "client", "secret")
    assert MLClient.from_config(nobody, enable_telemetry=False).workspace_name == "space"


@pytest.mark.parametrize(
    "config", [{"subscription_id": "1", "resource_group": ""}, ["1"], {**CONFIG, "workspace_name": 1}]
)
def test_a_config_that_lacks_something_is_wrong(machine: Machine, config: object) -> None:
    write(machine.root / ".azureml", config)
    check = azure.workspace(machine)
    assert check.severity == "error"
    assert "workspace_name" in check.message


def test_a_config_that_is_no_json_is_wrong(machine: Machine) -> None:
    write(machine.root / ".azureml", CONFIG)
    (machine.root / ".azureml/config.json").write_text("{")
    assert "cannot be read" in azure.workspace(machine).message


def test_a_config_that_the_server_would_read_is_wrong(machine: Machine) -> None:
    assert azure.server_files(machine).severity == "ok"
    write(machine.root, CONFIG)
    (machine.root / "utils.py").touch()
    check = azure.server_files(machine)
    assert (check.severity, check.message.split("; expected ")[0]) == ("error", "config.json, utils.py")
    assert ".azureml/config.json" in check.fix
    assert "rename utils.py" in check.fix


def test_nobody_signed_in_is_wrong(machine: Machine, tmp_path: Path) -> None:
    check = azure.credentials(machine)
    assert (check.severity, "az login" in check.fix) == ("error", True)
    (tmp_path / "bin/az").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin/az").chmod(0o755)
    check = azure.credentials(machine)
    assert (check.severity, check.fix) == ("error", "run `az login`")
    (tmp_path / "home/.azure").mkdir()
    profile = tmp_path / "home/.azure/azureProfile.json"
    profile.write_text(json.dumps({"subscriptions": []}), encoding="utf-8-sig")
    assert azure.credentials(machine).severity == "error"
    profile.write_text(json.dumps({"subscriptions": [{"name": "mine"}]}), encoding="utf-8-sig")
    assert azure.credentials(machine).severity == "ok"


def test_a_service_principal_is_taken_by_azure_identity(with_variables: Callable[..., Machine]) -> None:
    check = azure.credentials(with_variables(**PRINCIPAL, AZURE_CLIENT_SECRET="very-secret"))
    assert (check.severity, "very-secret" in str(check)) == ("ok", False)
    broken = {**PRINCIPAL, "AZURE_TENANT_ID": "no tenant!"}
    check = azure.credentials(with_variables(**broken, AZURE_CLIENT_SECRET="very-secret"))
    assert (check.severity, "very-secret" in str(check)) == ("error", False)


def test_a_certificate_is_opened(with_variables: Callable[..., Machine], tmp_path: Path) -> None:
    file = tmp_path / "client.pem"
    machine = with_variables(**PRINCIPAL, AZURE_CLIENT_CERTIFICATE_PATH=str(file))
    assert azure.credentials(machine).severity == "error"
    file.write_text("no certificate")
    assert azure.credentials(machine).severity == "error"
    request = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=test".split()
    subprocess.run(
        ["openssl", *request, "-keyout", tmp_path / "key", "-out", tmp_path / "cert"], check=True, capture_output=True
    )
    file.write_text((tmp_path / "key").read_text() + (tmp_path / "cert").read_text())
    assert azure.credentials(machine).severity == "ok"


@pytest.mark.parametrize("last", ["AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE"])
def test_half_of_a_way_to_sign_in_is_wrong(with_variables: Callable[..., Machine], last: str) -> None:
    check = azure.credentials(with_variables(**{last: "value", "AZURE_TENANT_ID": "tenant"}))
    assert (check.severity, check.message.split("; expected ")[0]) == ("error", f"{last} without AZURE_CLIENT_ID")


def test_the_identities_of_azures_own_computes_are_found(
    with_variables: Callable[..., Machine], tmp_path: Path
) -> None:
    assert azure.credentials(with_variables(IDENTITY_ENDPOINT="http://localhost/token")).severity == "ok"
    token = tmp_path / "token"
    machine = with_variables(**PRINCIPAL, AZURE_FEDERATED_TOKEN_FILE=str(token))
    assert azure.credentials(machine).severity == "error"
    token.touch()
    assert azure.credentials(machine).severity == "ok"


def test_azure_is_looked_at_in_both_parts(machine: Machine) -> None:
    assert [check.rule for check in azure.azure(machine)] == ["azure workspace", "azure credentials"]
    assert azure.not_asked().severity == "note"
