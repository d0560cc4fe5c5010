"""The same code and the same entities work with the client of this machine and with MLClient, on a stand-in for Azure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import (
    Input,
    load_batch_deployment,
    load_batch_endpoint,
    load_component,
    load_environment,
    load_job,
    load_model,
    load_online_deployment,
    load_online_endpoint,
)
from azure.ai.ml.entities import BatchJob, Model, PipelineJob
from azure.ai.ml.entities._load_functions import load_model_batch_deployment
from azure.core.exceptions import ResourceNotFoundError

from asset.local.client.client import LocalClient
from tests.asset.local.client.fake_azure import CONTAINER, KEY, ROOT, FakeAzure

ANSWER = ["capital", "beautiful"]


@pytest.fixture(params=["local", "azure"])
def either(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401  one client or the other
    return (
        request.getfixturevalue("ml_client") if request.param == "local" else request.getfixturevalue("azure").client()
    )


def register(ml_client: Any) -> None:  # noqa: ANN401
    """Register the model, the environment and a component."""
    model = ml_client.models.create_or_update(load_model("model.yml"))
    assert (model.name, model.version, model.type, model.tags) == ("tiny", "17", "custom_model", {"task": "fill-mask"})
    environment = ml_client.environments.create_or_update(load_environment("environment/serving/environment.yaml"))
    assert (environment.name, environment.version) == ("tiny-serving", "3")
    component = ml_client.components.create_or_update(load_component("components/count.yml"))
    assert (component.name, component.version, sorted(component.inputs)) == (
        "count",
        "1",
        ["data", "least", "mode", "share", "strict", "title"],
    )


def submit(ml_client: Any) -> PipelineJob:  # noqa: ANN401
    """Submit the job, from its file and with another value of an input."""
    job = load_job("job.yml")
    job.inputs.mode = "words"
    submitted = ml_client.jobs.create_or_update(job, experiment_name="contract")
    assert isinstance(submitted, PipelineJob)
    assert (submitted.experiment_name, submitted.display_name) == ("contract", "count and show")
    assert submitted.status in ("Starting", "Running")
    assert ml_client.jobs.get(submitted.name).name == submitted.name
    return submitted


def deploy(ml_client: Any) -> None:  # noqa: ANN401
    """Deploy two deployments with 90 and 10 percent of the traffic, and send them requests."""
    endpoint = ml_client.online_endpoints.begin_create_or_update(
        load_online_endpoint("deployment/online-endpoint.yml")
    ).result()
    assert (endpoint.name, endpoint.auth_mode, endpoint.tags) == ("tiny-endpoint", "key", {"team": "ours"})
    for name in ("blue", "green"):
        deployment = load_online_deployment("deployment/online-deployment-blue.yml")
        deployment.name = name
        poller = ml_client.online_deployments.begin_create_or_update(deployment)
        poller.wait()
        assert poller.done()
        deployed = poller.result()
        assert (deployed.name, deployed.endpoint_name, deployed.provisioning_state) == (
            name,
            "tiny-endpoint",
            "Succeeded",
        )
        assert deployed.instance_type == "Standard_DS3_v2"
        assert deployed.environment_variables == {"GUNICORN_CMD_ARGS": "--threads 16"}
    endpoint = ml_client.online_endpoints.get("tiny-endpoint")
    endpoint.traffic = {"blue": 90, "green": 10}
    ml_client.online_endpoints.begin_create_or_update(endpoint).result()
    endpoint = ml_client.online_endpoints.get("tiny-endpoint")
    assert endpoint.traffic == {"blue": 90, "green": 10}
    assert endpoint.scoring_uri.endswith("/score")
    assert endpoint.description == "Masked words."
    assert ml_client.online_endpoints.get_keys("tiny-endpoint").primary_key
    answer = ml_client.online_endpoints.invoke("tiny-endpoint", request_file="request.json", deployment_name="green")
    assert json.loads(answer) == ANSWER
    assert ml_client.online_deployments.get_logs("green", "tiny-endpoint", 50)
    names = [found.name for found in ml_client.online_deployments.list("tiny-endpoint")]
    assert sorted(names) == ["blue", "green"]
    assert [found.name for found in ml_client.online_endpoints.list()] == ["tiny-endpoint"]


def deploy_batch(ml_client: Any) -> None:  # noqa: ANN401
    """Deploy a batch deployment and make it the default."""
    endpoint = ml_client.batch_endpoints.begin_create_or_update(
        load_batch_endpoint("deployment/batch-endpoint.yml")
    ).result()
    assert endpoint.name == "tiny-batch"
    loaded = load_model_batch_deployment("deployment/batch-deployment.yml")
    deployment = ml_client.batch_deployments.begin_create_or_update(loaded).result()
    assert (deployment.name, deployment.endpoint_name) == ("rows", "tiny-batch")
    assert (deployment.mini_batch_size, deployment.output_file_name) == (5, "rows.jsonl")
    endpoint.defaults = {"deployment_name": "rows"}
    endpoint = ml_client.batch_endpoints.begin_create_or_update(endpoint).result()
    assert ml_client.batch_endpoints.get("tiny-batch").defaults.deployment_name == "rows"


def invoke_batch(ml_client: Any) -> BatchJob:  # noqa: ANN401
    data = Input(type="uri_file", path="rows.jsonl")
    job = ml_client.batch_endpoints.invoke("tiny-batch", deployment_name="rows", input=data)
    assert isinstance(job, BatchJob)
    assert job.name and job.status
    return job


def remove(ml_client: Any) -> None:  # noqa: ANN401
    ml_client.online_endpoints.begin_delete("tiny-endpoint").result()
    with pytest.raises(ResourceNotFoundError):
        ml_client.online_endpoints.get("tiny-endpoint")
    ml_client.batch_endpoints.begin_delete("tiny-batch").result()


def test_the_same_steps_work_here_and_on_azure(either: Any, files: Path) -> None:  # noqa: ANN401
    register(either)
    submitted = submit(either)
    deploy(either)
    deploy_batch(either)
    scored = invoke_batch(either)
    remove(either)
    if isinstance(either, LocalClient):
        either.jobs.stream(submitted.name)
        ended = either.jobs.get(submitted.name)
        assert (Path(ended.outputs["shown"].path) / "result.txt").read_text(encoding="utf-8") == "count: 3\n"
        either.jobs.stream(scored.name)
        either.jobs.download(scored.name, output_name="score", download_path=files / "got")
        rows = (files / "got/named-outputs/score/rows.jsonl").read_text(encoding="utf-8")
        assert rows == f"{files / 'rows.jsonl'}: done\n"


def test_what_azure_gets_of_registered_assets(azure: FakeAzure, files: Path) -> None:
    register(azure.client())
    model = azure.bodies["models/tiny/versions/17"]["properties"]
    assert (model["modelType"], model["description"], model["tags"]) == (
        "custom_model",
        "A model for tests.",
        {"task": "fill-mask"},
    )
    _, _, path = model["modelUri"].partition("/paths/")
    assert azure.blobs[f"/{CONTAINER}/{path}/weights.bin"] == b"the weights"
    environment = azure.bodies["environments/tiny-serving/versions/3"]["properties"]
    context = environment["build"]["contextUri"].partition(".net")[2]
    assert environment["build"]["dockerfilePath"] == "Dockerfile"
    assert azure.blobs[f"{context}Dockerfile"] == b"FROM python:3.11-slim\n"
    spec = azure.bodies["components/count/versions/1"]["properties"]["componentSpec"]
    assert spec["command"].startswith("bash count.sh '${{inputs.data}}' '${{outputs.counted}}'")
    assert spec["inputs"]["mode"] == {"type": "string", "default": "lines", "enum": ["lines", "words"]}
    assert spec["inputs"]["least"] == {"type": "integer", "default": "1", "min": "0", "max": "9"}
    assert spec["outputs"]["counted"] == {"type": "uri_file"}
    code = azure.bodies[spec["code"].partition(f"{ROOT}/")[2]]["properties"]["codeUri"].partition(".net")[2]
    scripts = {
        name.rpartition("/")[2] for name in azure.blobs if name.startswith(code.removeprefix(f"/{CONTAINER}/pending"))
    }
    assert scripts == {"count.sh", "show.sh"}


def test_azure_gets_the_output_of_a_job_as_it_is_named(azure: FakeAzure) -> None:
    path = "azureml://jobs/one/outputs/model"
    azure.client().models.create_or_update(Model(name="tuned", version="1", path=path, type="mlflow_model"))
    assert azure.bodies["models/tuned/versions/1"]["properties"]["modelUri"] == path


def test_what_azure_gets_of_a_job(azure: FakeAzure, files: Path) -> None:
    job = submit(azure.client())
    sent = azure.bodies[f"jobs/{job.name}"]["properties"]
    assert (sent["jobType"], sent["experimentName"], sent["displayName"]) == ("Pipeline", "contract", "count and show")
    assert sent["inputs"]["mode"] == {"jobInputType": "literal", "value": "words"}
    data = sent["inputs"]["data"]
    assert data["jobInputType"] == "uri_file"
    assert azure.blobs[f"/{CONTAINER}/{data['uri'].partition('/paths/')[2]}"] == b"one\ntwo\nthree\n"
    assert sent["outputs"]["shown"]["jobOutputType"] == "uri_folder"
    assert sent["settings"]["default_compute"] == f"{ROOT}/computes/serverless"
    count, show = sent["jobs"]["count"], sent["jobs"]["show"]
    assert count["inputs"]["mode"]["value"] == "${{parent.inputs.mode}}"
    assert show["inputs"]["counted"]["value"] == "${{parent.jobs.count.outputs.counted}}"
    assert show["outputs"]["result"]["value"] == "${{parent.outputs.shown}}"
    commands = [
        azure.bodies[step["componentId"].partition(f"{ROOT}/")[2]]["properties"]["componentSpec"]["command"]
        for step in (count, show)
    ]
    assert [command.split()[1] for command in commands] == ["count.sh", "show.sh"]


def test_what_azure_gets_of_an_online_deployment(azure: FakeAzure, files: Path) -> None:
    ml_client = azure.client()
    register(ml_client)
    deploy(ml_client)
    endpoint = azure.bodies["onlineEndpoints/tiny-endpoint"]
    assert endpoint["properties"]["authMode"] == "Key"
    assert endpoint["properties"]["traffic"] == {"blue": 90, "green": 10}
    assert (endpoint["identity"], endpoint["tags"]) == ({"type": "SystemAssigned"}, {"team": "ours"})
    sent = azure.bodies["onlineEndpoints/tiny-endpoint/deployments/blue"]
    properties = sent["properties"]
    assert sent["sku"] == {"name": "Default", "capacity": 1}
    assert properties["endpointComputeType"] == "Managed"
    assert properties["instanceType"] == "Standard_DS3_v2"
    assert properties["model"] == f"{ROOT}/models/tiny/versions/17"
    assert properties["environmentId"] == f"{ROOT}/environments/tiny-serving/versions/3"
    assert properties["environmentVariables"] == {"GUNICORN_CMD_ARGS": "--threads 16"}
    assert properties["requestSettings"] == {"requestTimeout": "PT20S", "maxConcurrentRequestsPerInstance": 8}
    probe = {"initialDelay": "PT5S", "period": "PT7S", "timeout": "PT3S", "failureThreshold": 4}
    assert properties["livenessProbe"] == probe
    assert properties["codeConfiguration"]["scoringScript"] == "score.py"
    code = azure.bodies[properties["codeConfiguration"]["codeId"].partition(f"{ROOT}/")[2]]
    folder = code["properties"]["codeUri"].partition(f"/{CONTAINER}/pending")[2]
    assert azure.blobs[f"{folder}/score.py"] == (files / "app/score.py").read_bytes()
    [(headers, content)] = azure.scored
    assert content == json.loads((files / "request.json").read_text(encoding="utf-8"))
    assert (headers["authorization"], headers["azureml-model-deployment"]) == (f"Bearer {KEY}", "green")


def test_what_azure_gets_of_a_batch_deployment(azure: FakeAzure, files: Path) -> None:
    ml_client = azure.client()
    register(ml_client)
    deploy_batch(ml_client)
    invoke_batch(ml_client)
    endpoint = azure.bodies["batchEndpoints/tiny-batch"]["properties"]
    assert endpoint["defaults"] == {"deploymentName": "rows"}
    properties = azure.bodies["batchEndpoints/tiny-batch/deployments/rows"]["properties"]
    assert properties["model"] == {"referenceType": "Id", "assetId": f"{ROOT}/models/tiny/versions/17"}
    assert properties["compute"] == f"{ROOT}/computes/cpu-cluster"
    assert properties["resources"]["instanceCount"] == 1
    assert (properties["miniBatchSize"], properties["maxConcurrencyPerInstance"]) == (5, 2)
    assert (properties["outputAction"], properties["outputFileName"]) == ("AppendRow", "rows.jsonl")
    assert properties["errorThreshold"] == 3
    assert properties["retrySettings"] == {"maxRetries": 2, "timeout": "PT1M"}
    assert properties["environmentVariables"] == {"BERT_SERVING_PRECISION": "fp32"}
    [(headers, content)] = azure.scored
    sent = content["properties"]["inputData"]["UriFile"]
    assert azure.blobs[f"/{CONTAINER}/{sent['uri'].partition('/paths/')[2]}"] == (files / "rows.jsonl").read_bytes()
    assert headers["azureml-model-deployment"] == "rows"


def test_the_stand_in_refuses_what_azure_would(azure: FakeAzure, files: Path) -> None:
    from azure.core.exceptions import HttpResponseError

    ml_client = azure.client()
    register(ml_client)
    ml_client.online_endpoints.begin_create_or_update(load_online_endpoint("deployment/online-endpoint.yml")).result()
    deployment = load_online_deployment("deployment/online-deployment-blue.yml")
    deployment.instance_type = None
    with pytest.raises(HttpResponseError, match=r"properties\.instanceType is required"):
        ml_client.online_deployments.begin_create_or_update(deployment)
    endpoint = load_online_endpoint("deployment/online-endpoint.yml")
    endpoint.traffic = {"red": 100}
    with pytest.raises(HttpResponseError, match="there is no deployment red"):
        ml_client.online_endpoints.begin_create_or_update(endpoint).result()


def test_the_older_kind_of_batch_deployment_is_taken_too(either: Any, files: Path) -> None:  # noqa: ANN401
    register(either)
    either.batch_endpoints.begin_create_or_update(load_batch_endpoint("deployment/batch-endpoint.yml")).result()
    text = (files / "deployment/batch-deployment.yml").read_text(encoding="utf-8")
    plain = text.replace("modelBatchDeployment", "batchDeployment").replace("type: model\n", "")
    plain = plain.replace("settings:\n", "", 1).replace("\n  mini_batch_size", "\nmini_batch_size")
    for key in (
        "max_concurrency_per_instance",
        "output_action",
        "output_file_name",
        "error_threshold",
        "retry_settings",
    ):
        plain = plain.replace(f"\n  {key}", f"\n{key}")
    plain = plain.replace("\n    max_retries", "\n  max_retries").replace("\n    timeout", "\n  timeout")
    plain = plain.replace("\n  environment_variables:\n    BERT", "\nenvironment_variables:\n  BERT")
    (files / "deployment/plain.yml").write_text(plain, encoding="utf-8")
    deployment = either.batch_deployments.begin_create_or_update(load_batch_deployment("deployment/plain.yml")).result()
    assert (deployment.mini_batch_size, deployment.output_file_name) == (5, "rows.jsonl")
