"""The endpoints and deployments are what Azure's SDK reads, and their numbers are made from the engine's own."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.ai.ml import load_batch_endpoint, load_online_deployment, load_online_endpoint
from azure.ai.ml.entities import ManagedOnlineDeployment
from azure.ai.ml.entities._load_functions import load_model_batch_deployment

from asset.local.server import REQUEST_THREADS, STARTUP_SECONDS
from asset.tools.sku_lists import read_sku_lists
from serving.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deployment"
COLORS = ("blue", "green")
MODEL = "bert-base-cased:17"

ENDPOINTS = ("online-endpoint", "online-endpoint-blue-green")
NAMES = (*ENDPOINTS, *(f"online-deployment-{color}" for color in COLORS), "batch-endpoint", "batch-deployment")


def online(color: str) -> ManagedOnlineDeployment:
    return load_online_deployment(FOLDER / f"online-deployment-{color}.yml")


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.yml").read_text(encoding="utf-8")


def commented(name: str, key: str) -> dict[str, Any]:
    """Return what a block of comments says that begins with a key: what a user gets who takes the # away."""
    lines = text_of(name).splitlines()
    start = next(number for number, line in enumerate(lines) if line.strip().startswith(f"# {key}:"))
    block = []
    for line in lines[start:]:
        if not re.match(r"\s*# {1,5}[\w ]+:", line):
            break
        block.append(re.sub(r"# ", "", line, count=1))
    return yaml.safe_load("\n".join(block))


def loaded(name: str, folder: Path, **changed: object) -> Any:  # noqa: ANN401 - an entity of the SDK's
    """Load a file with keys changed, from a folder beside the environments."""
    data = yaml.safe_load(text_of(name)) | changed
    (folder / "environment").symlink_to(ROOT / "environment")
    (folder / "deployment").mkdir()
    file = folder / "deployment" / f"{name}.yml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    return (load_online_endpoint if "endpoint" in name else load_online_deployment)(file)


def test_these_are_all_files() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yml")) == sorted(NAMES)


def test_the_endpoints_belong_to_their_deployments() -> None:
    endpoints = [load_online_endpoint(FOLDER / f"{name}.yml") for name in ENDPOINTS]
    assert {(endpoint.name, endpoint.auth_mode) for endpoint in endpoints} == {("bert-base-cased", "key")}
    assert {online(color).endpoint_name for color in COLORS} == {"bert-base-cased"}
    assert [online(color).name for color in COLORS] == list(COLORS)
    batch = load_batch_endpoint(FOLDER / "batch-endpoint.yml")
    assert load_model_batch_deployment(FOLDER / "batch-deployment.yml").endpoint_name == batch.name


def test_traffic_is_split_between_the_deployments(tmp_path: Path) -> None:
    # Azure refuses traffic for deployments that are not there yet.
    assert not load_online_endpoint(FOLDER / "online-endpoint.yml").traffic
    assert load_online_endpoint(FOLDER / "online-endpoint-blue-green.yml").traffic == {"blue": 90, "green": 10}
    mirror = commented("online-endpoint-blue-green", "traffic") | commented(
        "online-endpoint-blue-green", "mirror_traffic"
    )
    endpoint = loaded("online-endpoint-blue-green", tmp_path, **mirror)
    assert sum(endpoint.traffic.values()) == 100
    ((name, share),) = endpoint.mirror_traffic.items()
    assert endpoint.traffic[name] == 0
    assert share <= 50


@pytest.mark.parametrize("color", COLORS)
def test_an_online_deployment_has_the_code_the_model_and_the_image(color: str) -> None:
    deployment = online(color)
    code = (FOLDER / deployment.code_configuration.code).resolve()
    assert (code, deployment.code_configuration.scoring_script) == (ROOT, "score.py")
    assert (code / ".amlignore").is_file()
    assert deployment.model == MODEL
    assert deployment.environment.name == "bert-base-cased-serving"
    assert deployment.environment.inference_config is not None
    assert deployment.app_insights_enabled is False


@pytest.mark.parametrize("color", COLORS)
def test_the_size_is_one_of_those_for_inference_and_has_no_gpu(color: str) -> None:
    listed = read_sku_lists(ROOT / "sku_lists.yaml")["inference"]
    assert online(color).instance_type in listed.recommended
    sizes = yaml.safe_load((ROOT / "sku_lists.yaml").read_text(encoding="utf-8"))["sizes"]
    cores, gpus, memory, _ = map(int, sizes[online(color).instance_type].split("|"))
    assert (cores, gpus, memory) == (4, 0, 8)
    assert "4 vCPU, 8 GB" in text_of(f"online-deployment-{color}")


@pytest.mark.parametrize("color", COLORS)
def test_requests_are_bounded_by_what_the_engine_takes(color: str) -> None:
    deployment = online(color)
    settings = Settings.from_env(
        {name: value for name, value in deployment.environment_variables.items() if name.startswith("BERT_SERVING_")}
    )
    assert settings == Settings(), "what the file writes out are the defaults"
    requests = deployment.request_settings
    # As many as the engine takes: more would be refused by it, fewer would leave its batches small.
    assert requests.max_concurrent_requests_per_instance == settings.max_queue
    # Late answers are the engine's to tell, whatever Azure's own queue took before.
    assert requests.request_timeout_ms >= settings.deadline_ms + requests.max_queue_wait_ms + 500
    (option, threads) = shlex.split(deployment.environment_variables["GUNICORN_CMD_ARGS"])
    assert (option, int(threads)) == ("--threads", REQUEST_THREADS)
    assert int(threads) >= 2 * requests.max_concurrent_requests_per_instance
    sums = re.findall(r"(\d+) \+ (\d+) \+ (\d+)\.", text_of(f"online-deployment-{color}"))
    assert sums == [(str(settings.deadline_ms), str(requests.max_queue_wait_ms), "500")]


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("probe", ["liveness_probe", "readiness_probe"])
def test_probes_wait_for_a_first_start(color: str, probe: str) -> None:
    found = getattr(online(color), probe)
    assert found.initial_delay + found.period * found.failure_threshold > 2 * STARTUP_SECONDS
    assert found.timeout < found.period


@pytest.mark.parametrize("color", COLORS)
def test_nothing_is_collected_until_it_is_turned_on(color: str, tmp_path: Path) -> None:
    assert online(color).data_collector is None
    turned_on = commented(f"online-deployment-{color}", "data_collector")
    deployment = loaded(f"online-deployment-{color}", tmp_path, **turned_on)
    collections = deployment.data_collector.collections
    assert {name: found.enabled.lower() for name, found in collections.items()} == {
        "request": "true",
        "response": "true",
    }
    assert deployment.data_collector.sampling_rate == 0.1


def test_green_begins_as_blue() -> None:
    blue, green = (yaml.safe_load(text_of(f"online-deployment-{color}")) for color in COLORS)
    assert {key for key in blue if blue[key] != green.get(key)} == {"name"}
    assert set(blue) == set(green)


def test_the_batch_deployment_has_the_code_the_model_and_the_image() -> None:
    deployment = load_model_batch_deployment(FOLDER / "batch-deployment.yml")
    code = (FOLDER / deployment.code_configuration.code).resolve()
    assert (code / deployment.code_configuration.scoring_script).is_file()
    assert deployment.model == MODEL
    assert deployment.environment.name == "bert-base-cased-batch"
    assert deployment.compute == "cpu-cluster"
    assert deployment.resources["instance_count"] == 1


def test_batch_scoring_writes_for_itself_in_one_process() -> None:
    settings = load_model_batch_deployment(FOLDER / "batch-deployment.yml").settings
    assert settings.output_action == "summary_only"
    assert settings.max_concurrency_per_instance == 1
    part = float(settings.environment_variables["BATCH_SCORING_PART_SECONDS"])
    # A try that is cut short has kept nearly all that it did.
    assert settings.retry_settings.timeout >= 100 * part
    size = re.search(r"--size (\S+)", text_of("batch-deployment"))
    assert size
    assert size[1] in read_sku_lists(ROOT / "sku_lists.yaml")["inference"].recommended


def test_the_model_is_that_of_the_asset() -> None:
    spec = yaml.safe_load((ROOT / "spec.yaml").read_text(encoding="utf-8"))
    assert f"{spec['name']}:{spec['version']}" == MODEL
