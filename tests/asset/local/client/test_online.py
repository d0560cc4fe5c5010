"""Online endpoints through the client, with the inference server on the asset itself."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from azure.ai.ml import load_environment, load_model, load_online_deployment, load_online_endpoint
from azure.ai.ml.entities import (
    CodeConfiguration,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    OnlineRequestSettings,
)
from azure.ai.ml.exceptions import MlException, ValidationException
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.core.polling import LROPoller

from asset.checks.pipeline.data import OwnModel
from asset.environments import ROOT
from asset.local.client.client import LocalClient
from asset.local.client.errors import UnsupportedError
from tests.asset.local.client.asset_files import SCHEMA

ENVIRONMENT = f"""\
$schema: {SCHEMA}/environment.schema.json
name: bert-base-cased-serving
version: "1"
image: mcr.microsoft.com/azureml/inference-base-2004
"""


def asset_deployment(files: Path, **given: object) -> ManagedOnlineDeployment:
    """Return a deployment of this checkout's score.py and model, built in Python."""
    (files / "environment/serving/environment.yaml").write_text(ENVIRONMENT, encoding="utf-8")
    settings = OnlineRequestSettings(request_timeout_ms=20000, max_concurrent_requests_per_instance=8)
    return ManagedOnlineDeployment(
        **{
            "name": "blue",
            "endpoint_name": "bert-base-cased",
            "model": "azureml:bert-base-cased:17",
            "environment": load_environment(files / "environment/serving/environment.yaml"),
            "code_configuration": CodeConfiguration(code=str(ROOT), scoring_script="score.py"),
            "instance_type": "Standard_DS3_v2",
            "instance_count": 1,
            "environment_variables": {"GUNICORN_CMD_ARGS": "--threads 16"},
            "request_settings": settings,
            **given,
        }
    )


def test_the_asset_answers_through_an_endpoint(
    ml_client: LocalClient, files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    endpoint = ManagedOnlineEndpoint(name="bert-base-cased", auth_mode="key")
    assert isinstance(ml_client.begin_create_or_update(endpoint), LROPoller)
    ml_client.online_endpoints.begin_create_or_update(endpoint).wait()
    poller = ml_client.begin_create_or_update(asset_deployment(files, instance_count=3))
    assert poller.status() in ("InProgress", "Succeeded")
    deployed = poller.result()
    assert (poller.status(), deployed.provisioning_state) == ("Succeeded", "Succeeded")
    assert deployed.model == "azureml:bert-base-cased:17"
    assert deployed.code_configuration.code == str(ROOT)
    assert deployed.properties["asset.status"] == "ready" and int(deployed.properties["asset.pid"])
    assert caplog.text.count("running the small embedded model in its place") == (
        OwnModel.read().folder.name == "embedded"
    )
    assert "blue: instance_count 3 is ignored: this machine runs one server" in caplog.text
    endpoint.traffic = {"blue": 100}
    ml_client.online_endpoints.begin_create_or_update(endpoint).wait()
    answer = json.loads(ml_client.online_endpoints.invoke("bert-base-cased", request_file=ROOT / "sample_input.json"))
    assert len(answer) == 2 and all(isinstance(word, str) for word in answer)
    (files / "bad.json").write_text('{"input_data": ["no gap"]}', encoding="utf-8")
    with pytest.raises(HttpResponseError, match="missing_mask") as refused:
        ml_client.online_endpoints.invoke("bert-base-cased", request_file="bad.json")
    assert refused.value.response.status_code == 424
    assert refused.value.response.headers["ms-azureml-model-error-statuscode"] == "400"
    # What the client returns can be changed and sent again.
    again = ml_client.online_deployments.get("blue", "bert-base-cased")
    again.environment_variables = {**again.environment_variables, "BERT_SERVING_MAX_ROWS": "1"}
    ml_client.online_deployments.begin_create_or_update(again).result()
    with pytest.raises(HttpResponseError, match="too_many_rows"):
        ml_client.online_endpoints.invoke("bert-base-cased", request_file=ROOT / "sample_input.json")


@pytest.fixture
def tiny(ml_client: LocalClient, files: Path) -> LocalClient:
    """A client with an endpoint and what its deployments name, none of which is up."""
    ml_client.models.create_or_update(load_model("model.yml"))
    ml_client.environments.create_or_update(load_environment("environment/serving/environment.yaml"))
    ml_client.online_endpoints.begin_create_or_update(load_online_endpoint("deployment/online-endpoint.yml")).result()
    return ml_client


def blue() -> ManagedOnlineDeployment:
    return load_online_deployment("deployment/online-deployment-blue.yml")


def test_the_model_is_mounted_as_on_azure(tiny: LocalClient, files: Path) -> None:
    tiny.online_deployments.begin_create_or_update(blue()).result()
    # AZUREML_MODEL_DIR is …/NAME/VERSION, with what was registered in it.
    assert "a model of ['model']" in tiny.online_deployments.get_logs("blue", "tiny-endpoint", 200)
    record = tiny.state / "endpoints/tiny-endpoint/deployments/blue/deployment.json"
    model = Path(json.loads(record.read_text(encoding="utf-8"))["model"])
    assert model.parts[-2:] == ("tiny", "17")
    assert (model / "model/weights.bin").resolve() == files / "model/weights.bin"


def test_a_wrong_key_is_refused(tiny: LocalClient) -> None:
    tiny.online_deployments.begin_create_or_update(blue()).result()
    endpoint = tiny.online_endpoints.get("tiny-endpoint")
    endpoint.traffic = {"blue": 100}
    tiny.online_endpoints.begin_create_or_update(endpoint).result()
    before = tiny.online_endpoints.get_keys("tiny-endpoint")
    tiny.online_endpoints.begin_regenerate_keys("tiny-endpoint", key_type="secondary").result()
    after = tiny.online_endpoints.get_keys("tiny-endpoint")
    assert before.primary_key == after.primary_key and before.secondary_key != after.secondary_key
    keys = tiny.state / "endpoints/tiny-endpoint/keys.json"
    keys.write_text(keys.read_text(encoding="utf-8").replace(after.primary_key, "wrong"), encoding="utf-8")
    with pytest.raises(MlException, match="key_auth_access_denied"):
        tiny.online_endpoints.invoke("tiny-endpoint", request_file="request.json")


def test_a_server_that_does_not_start_fails_the_deployment(tiny: LocalClient, files: Path) -> None:
    (files / "app/score.py").write_text(
        "def init():\n    raise RuntimeError('no model today')\ndef run(raw):\n    pass\n"
    )
    poller = tiny.online_deployments.begin_create_or_update(blue())
    with pytest.raises(HttpResponseError, match="(?s)stopped with status 3.*no model today"):
        poller.result()
    assert poller.status() == "Failed"
    assert "no model today" in tiny.online_deployments.get_logs("blue", "tiny-endpoint", 100)
    assert list(tiny.online_deployments.list("tiny-endpoint")) == []


def test_a_missing_part_is_named(tiny: LocalClient, files: Path) -> None:
    def refused(message: str, kind: type[Exception] = ValidationException, **given: object) -> None:
        deployment = blue()
        for name, value in given.items():
            setattr(deployment, name, value)
        with pytest.raises(kind, match=message):
            tiny.online_deployments.begin_create_or_update(deployment)

    refused(
        "there is no endpoint other on this machine .there are: tiny-endpoint.",
        ResourceNotFoundError,
        endpoint_name="other",
    )
    refused("there is no model tiny:99 on this machine", ResourceNotFoundError, model="azureml:tiny:99")
    refused("there is no environment nothing:1 on this machine", ResourceNotFoundError, environment="azureml:nothing:1")
    refused("there is no scoring script .*other.py", code_configuration=CodeConfiguration("../app", "other.py"))
    refused("has no scoring script; write code_configuration", code_configuration=None)
    refused("there is no model at .*gone", model=Model(path=str(files / "gone"), name="x", version="1"))
    environment = load_environment("environment/serving/environment.yaml")
    environment.build.path = str(files / "app")
    environment.name = "other"
    refused("no environment of this checkout .* stands for the environment other", environment=environment)
    (files / "app/score.py").write_text("def init(:\n", encoding="utf-8")
    refused("(?i)syntax")


def test_what_only_azure_supports_is_refused(tiny: LocalClient) -> None:
    for given in ({"vscode_debug": True}, {"local_enable_gpu": True}, {"package_model": True}):
        with pytest.raises(UnsupportedError, match=f"takes no {next(iter(given))} on this machine"):
            tiny.online_deployments.begin_create_or_update(blue(), **given)
    with pytest.raises(ValidationException, match="auth_mode: aml_token works on Azure only"):
        tiny.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="other", auth_mode="aml_token"))
    with pytest.raises(ValidationException, match="mirror_traffic works on Azure only"):
        tiny.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="other", mirror_traffic={"blue": 10}))
    with pytest.raises(ValidationException, match="must start with an upper- or lowercase letter"):
        tiny.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="../out"))
    with pytest.raises(ValidationException, match="Key type must be"):
        tiny.online_endpoints.begin_regenerate_keys("tiny-endpoint", key_type="third")


def test_traffic_and_deletion_follow_azures_rules(tiny: LocalClient) -> None:
    endpoint = tiny.online_endpoints.get("tiny-endpoint")
    endpoint.traffic = {"blue": 100}
    with pytest.raises(ValidationException, match=r"does not have: blue \(it has: none\)"):
        tiny.online_endpoints.begin_create_or_update(endpoint).result()
    tiny.online_deployments.begin_create_or_update(blue()).result()
    endpoint.traffic = {"blue": 60}
    with pytest.raises(ValidationException, match="the traffic adds up to 60, not to 100"):
        tiny.online_endpoints.begin_create_or_update(endpoint).result()
    endpoint.traffic = {"blue": 100}
    tiny.online_endpoints.begin_create_or_update(endpoint).result()
    with pytest.raises(ResourceExistsError, match="has 100 % of the traffic"):
        tiny.online_deployments.begin_delete("blue", "tiny-endpoint").result()
    with pytest.raises(ValidationException, match="Deployment name red not found"):
        tiny.online_endpoints.invoke("tiny-endpoint", request_file="request.json", deployment_name="red")
    with pytest.raises(ResourceNotFoundError, match="tiny-endpoint has no deployment red"):
        tiny.online_deployments.get("red", "tiny-endpoint")
