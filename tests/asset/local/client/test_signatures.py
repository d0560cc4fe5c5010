"""The client of this machine has MLClient's methods with its arguments, and refuses what it cannot do."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import azure.ai.ml.operations as azure_operations
import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.entities import ManagedOnlineEndpoint
from azure.ai.ml.exceptions import ValidationException

from asset import client
from asset.local.client.client import SUB_OBJECTS, LocalClient
from asset.local.client.errors import UnsupportedError

ROOT = Path(__file__).resolve().parents[4]
THEIRS = {
    "models": azure_operations.ModelOperations,
    "environments": azure_operations.EnvironmentOperations,
    "components": azure_operations.ComponentOperations,
    "data": azure_operations.DataOperations,
    "jobs": azure_operations.JobOperations,
    "online_endpoints": azure_operations.OnlineEndpointOperations,
    "online_deployments": azure_operations.OnlineDeploymentOperations,
    "batch_endpoints": azure_operations.BatchEndpointOperations,
    "batch_deployments": azure_operations.BatchDeploymentOperations,
}
ALSO_OURS = {"named", "registered"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> LocalClient:
    return client(local=True, asset_dir=tmp_path_factory.mktemp("state"))


def public_methods(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")} - ALSO_OURS


def shape(method: Any) -> list[tuple[str, Any, Any]]:  # noqa: ANN401
    """Return each argument's name, kind and default; an enum's as its text."""
    return [
        (name, parameter.kind, str(getattr(parameter.default, "value", parameter.default)))
        for name, parameter in inspect.signature(method).parameters.items()
    ]


def methods() -> list[tuple[str, str]]:
    found = client(local=True, asset_dir="/nowhere")
    return [(name, method) for name in SUB_OBJECTS for method in sorted(public_methods(type(getattr(found, name))))]


def test_mlclient_has_the_sub_objects_of_the_client() -> None:
    assert set(THEIRS) == set(SUB_OBJECTS)
    assert [
        name for name in (*SUB_OBJECTS, "create_or_update", "begin_create_or_update") if not hasattr(MLClient, name)
    ] == []


@pytest.mark.parametrize(("name", "method"), methods())
def test_a_method_has_the_arguments_of_mlclients(here: LocalClient, name: str, method: str) -> None:
    assert hasattr(THEIRS[name], method), f"MLClient has no {name}.{method}"
    ours, theirs = shape(getattr(type(getattr(here, name)), method)), shape(getattr(THEIRS[name], method))
    assert ours == theirs


@pytest.mark.parametrize("name", SUB_OBJECTS)
def test_a_method_that_only_azure_supports_is_refused(here: LocalClient, name: str) -> None:
    missing = public_methods(THEIRS[name]) - public_methods(type(getattr(here, name)))
    for method in missing:
        with pytest.raises(
            UnsupportedError, match=rf"only Azure supports {name}\.{method}; this machine supports .*get"
        ):
            getattr(getattr(here, name), method)


def test_a_sub_object_that_only_azure_supports_is_refused(here: LocalClient) -> None:
    with pytest.raises(
        UnsupportedError, match="only Azure supports compute; the client of this machine has models, environments"
    ):
        _ = here.compute
    assert not hasattr(here, "datastores")


@pytest.mark.parametrize(
    ("name", "method", "given"),
    [
        ("models", "list", {"stage": "Production"}),
        ("jobs", "list", {"something": 1}),
        ("online_endpoints", "invoke", {"endpoint_name": "x", "input_data": "azureml:data:1"}),
        (
            "online_deployments",
            "get_logs",
            {"name": "x", "endpoint_name": "yyy", "lines": 1, "container_type": "storage-initializer"},
        ),
        ("batch_endpoints", "invoke", {"endpoint_name": "x", "params_override": [{"a": 1}]}),
    ],
)
def test_an_argument_that_only_azure_supports_is_refused(
    here: LocalClient, name: str, method: str, given: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedError, match=r"takes no \w+ on this machine, and \w+=.* was passed"):
        getattr(getattr(here, name), method)(**given)


def test_archived_assets_cannot_be_listed(here: LocalClient) -> None:
    from azure.ai.ml.constants import ListViewType

    assert list(here.environments.list(list_view_type=ListViewType.ALL)) == []
    with pytest.raises(UnsupportedError, match="list takes no list_view_type"):
        here.environments.list(list_view_type=ListViewType.ARCHIVED_ONLY)


def test_the_wrong_entity_is_refused_by_name(here: LocalClient) -> None:
    for name, method in (
        ("online_deployments", "begin_create_or_update"),
        ("batch_endpoints", "begin_create_or_update"),
        ("models", "create_or_update"),
        ("environments", "create_or_update"),
    ):
        with pytest.raises(ValidationException, match="of azure.ai.ml.entities, not a ManagedOnlineEndpoint"):
            getattr(getattr(here, name), method)(ManagedOnlineEndpoint(name="wrong"))
    with pytest.raises(TypeError, match="found ManagedOnlineEndpoint"):
        here.create_or_update(ManagedOnlineEndpoint(name="wrong"))


def test_the_package_imports_without_the_sdk_and_the_client_is_a_plain_function() -> None:
    code = (
        "import sys, asset; assert 'azure' not in sys.modules\n"
        "import asset.local.client.operations\n"
        "assert asset.client(local=True).state.name == '.asset'\n"
        "from asset import client; print(type(client).__name__, client(asset_dir='/x'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin"}
    )
    assert (done.returncode, done.stdout) == (0, "function LocalClient('/x')\n"), done.stderr
