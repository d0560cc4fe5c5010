"""`asset deploy`, `invoke`, `endpoints` and `submit`, as a user calls them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from asset.cli.deploy import endpoint_file, parse_traffic, read_kind
from asset.cli.loop import Where
from asset.cli.main import app
from asset.local.endpoints.link import LocalEndpoint
from asset.local.endpoints.records import endpoints
from asset.local.jobs.tracking import database
from tests.asset.local.client.asset_files import write_asset
from tests.asset.local.client.fake_azure import FakeAzure, fake_azure

ROOT = Path(__file__).resolve().parents[3]
ANSWER = '["capital", "beautiful"]\n'
Asset = Callable[..., Result]


def inline(files: Path) -> Path:
    """Let the deployments name their environment and model by path, so that nothing has to be registered."""
    blue = files / "deployment/online-deployment-blue.yml"
    content = yaml.safe_load(blue.read_text(encoding="utf-8"))
    content["environment"] = "file:../environment/serving/environment.yaml"
    content["model"] = {"path": "../model"}
    for name in ("blue", "green"):
        file = files / f"deployment/online-deployment-{name}.yml"
        file.write_text(yaml.safe_dump(content | {"name": name}, sort_keys=False), encoding="utf-8")
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = inline(write_asset(tmp_path_factory.mktemp("asset")))
    # Of the same name, and for when both deployments are there.
    text = (files / "deployment/online-endpoint.yml").read_text(encoding="utf-8")
    (files / "deployment/online-endpoint-blue-green.yml").write_text(f"{text}traffic: {{blue: 90, green: 10}}\n")
    return files


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    state = tmp_path_factory.mktemp("state")
    yield state
    for folder in endpoints(state):
        LocalEndpoint(folder).delete()


def start(files: Path, state: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the command as a process of its own, in the folder of the files."""
    environment = os.environ | {"ASSET_DIR": str(state), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "asset.cli.main", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=files, env=environment, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture(scope="module")
def asset(files: Path, state: Path) -> Iterator[Asset]:
    """Run the command in this process."""

    def run(*arguments: str, status: int = 0) -> Result:
        done = CliRunner().invoke(app, list(arguments), env={"ASSET_DIR": str(state)})
        assert done.exit_code == status, f"{done.stderr}\n{done.stdout}\n{done.exception}"
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(files)
        yield run


@pytest.fixture(scope="module")
def deployed(asset: Asset, files: Path, state: Path) -> Asset:
    """The endpoint with its two deployments at 90 to 10, started by a command that has ended."""
    first = start(files, state, "deploy", "-f", "deployment/online-deployment-blue.yml")
    out, err = first.communicate()
    assert first.returncode == 0, err
    assert "creating the endpoint tiny-endpoint, from online-endpoint.yml" in out
    assert ": blue 100 %" in out
    second = asset("deploy", "-f", "deployment/online-deployment-green.yml")
    assert "creating the endpoint" not in second.stdout
    assert "blue 100 %, green 0 %" in second.stdout
    third = asset("deploy", "-f", "deployment/online-endpoint-blue-green.yml")
    assert "blue 90 %, green 10 %" in third.stdout
    return asset


def test_the_endpoint_outlives_the_command_and_answers(deployed: Asset) -> None:
    done = deployed("invoke", "tiny-endpoint", "--request-file", "request.json")
    assert (done.stdout, done.stderr) == (ANSWER, "")
    told = json.loads(deployed("invoke", "tiny-endpoint", "--deployment", "green", "--json").stdout)
    assert told == {"status": "done", "endpoint": "tiny-endpoint", "answer": json.loads(ANSWER)}


def test_the_list_shows_what_runs(deployed: Asset) -> None:
    told = json.loads(deployed("endpoints", "list", "--json").stdout)
    [endpoint] = told["endpoints"]
    assert endpoint["traffic"] == {"blue": 90, "green": 10}
    assert {name: one["status"] for name, one in endpoint["deployments"].items()} == {"blue": "ready", "green": "ready"}
    shown = deployed("endpoints", "list").stdout
    assert "tiny-endpoint: http://127.0.0.1:" in shown and "blue: 90 % of the traffic, ready, process" in shown


def test_logs_and_keys_are_shown(deployed: Asset) -> None:
    log = deployed("endpoints", "logs", "tiny-endpoint", "blue", "--lines", "500").stdout
    assert "a model of ['model']" in log
    assert "serving at http://127.0.0.1:" in deployed("endpoints", "logs", "tiny-endpoint").stdout
    keys = json.loads(deployed("endpoints", "keys", "tiny-endpoint", "--json").stdout)
    assert keys["primary"] and keys["primary"] in deployed("endpoints", "keys", "tiny-endpoint").stdout
    missing = deployed("endpoints", "logs", "tiny-endpoint", "red", status=2)
    assert "there is no log of deployment red; name one of the deployments (blue, green)" in missing.stderr


def test_a_stopped_endpoint_says_so_and_starts_again(deployed: Asset) -> None:
    deployed("endpoints", "stop", "tiny-endpoint")
    done = deployed("invoke", "tiny-endpoint", status=1)
    assert "is stopped; start it with `asset endpoints start tiny-endpoint`" in done.stderr
    assert "stopped" in deployed("endpoints", "list").stdout
    deployed("endpoints", "start", "tiny-endpoint")
    assert deployed("invoke", "tiny-endpoint").stdout == ANSWER


def test_a_killed_endpoint_is_told_of_by_the_next_command(deployed: Asset, state: Path) -> None:
    [folder] = endpoints(state)
    daemon = folder.daemon()
    assert daemon is not None
    os.kill(daemon.process.pid, signal.SIGKILL)
    time.sleep(0.2)
    done = deployed("invoke", "tiny-endpoint", status=1)
    assert f"process {daemon.process.pid} of endpoint 'tiny-endpoint' was killed" in done.stderr
    deployed("deploy", "-f", "deployment/online-deployment-blue.yml")
    assert deployed("invoke", "tiny-endpoint", "--deployment", "green").stdout == ANSWER


def test_an_error_of_the_model_is_shown_with_its_status(deployed: Asset, files: Path) -> None:
    script = (files / "app/score.py").read_text(encoding="utf-8")
    try:
        (files / "app/score.py").write_text(script.replace('return ["', 'raise ValueError() or ["'), encoding="utf-8")
        deployed("deploy", "-f", "deployment/online-deployment-green.yml")
    finally:
        (files / "app/score.py").write_text(script, encoding="utf-8")
    done = deployed("invoke", "tiny-endpoint", "--deployment", "green", "--json", status=1)
    told = json.loads(done.stdout)
    assert (told["status"], told["http_status"], told["model_status"]) == ("failed", 424, 500)
    assert "status 424 (the model's: 500)" in done.stderr
    deployed("deploy", "-f", "deployment/online-deployment-green.yml")


def test_one_deployment_is_deleted_when_it_has_no_traffic(deployed: Asset) -> None:
    refused = deployed("endpoints", "delete", "tiny-endpoint", "--deployment", "green", status=1)
    assert "deployment 'green' has 10 % of the traffic" in refused.stderr
    deployed("deploy", "-f", "deployment/online-deployment-blue.yml", "--traffic", "blue=100,green=0")
    deployed("endpoints", "delete", "tiny-endpoint", "--deployment", "green")
    told = json.loads(deployed("endpoints", "list", "--json").stdout)
    assert list(told["endpoints"][0]["deployments"]) == ["blue"]


def test_two_deploys_at_once_both_succeed(deployed: Asset, files: Path, state: Path) -> None:
    names = ("blue", "green")
    started = [start(files, state, "deploy", "--json", "-f", f"deployment/online-deployment-{n}.yml") for n in names]
    told = [json.loads(process.communicate()[0]) for process in started]
    assert [one["status"] for one in told] == ["done", "done"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-f", "gone.yml"], "gone.yml"),
        (["-f", "request.json"], "request.json is not the file of an endpoint or a deployment"),
        (["-f", "model.yml"], "it is of another kind: model. Name another file"),
        (
            ["-f", "deployment/online-deployment-blue.yml", "--traffic", "blue:90"],
            "cannot read the traffic 'blue:90'; write it as in blue=90,green=10",
        ),
        (
            ["-f", "deployment/batch-deployment.yml", "--traffic", "rows=100"],
            "for an online endpoint or deployment alone",
        ),
        (
            ["-f", "deployment/online-endpoint.yml", "--traffic", "red=100"],
            "traffic names deployments that the endpoint does not have: red",
        ),
    ],
)
def test_wrong_input_changes_nothing(asset: Asset, arguments: list[str], message: str) -> None:
    done = asset("deploy", *arguments, "--json", status=2)
    told = json.loads(done.stdout)
    assert told["status"] == "invalid" and message in told["message"]


@pytest.mark.parametrize("key", ["model", "code_configuration"])
def test_a_value_of_another_type_is_no_traceback(asset: Asset, files: Path, tmp_path: Path, key: str) -> None:
    content = yaml.safe_load((files / "deployment/online-deployment-blue.yml").read_text(encoding="utf-8"))
    file = tmp_path / "wrong.yml"
    content |= {"model": "azureml:tiny:17", "environment": "azureml:tiny-serving:1", key: 5}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = asset("deploy", "-f", str(file), status=2)
    assert f"{file}:1: the Azure SDK refuses it: a value has another type than the SDK expects" in done.stderr


def test_the_endpoints_file_is_found_among_those_that_cannot_be_read(tmp_path: Path) -> None:
    # Emacs marks the file that it has open by such a link.
    (tmp_path / ".#online-endpoint.yml").symlink_to("somebody@somewhere.1234")
    (tmp_path / "folder.yaml").mkdir()
    schema = "https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json"
    (tmp_path / "online-endpoint.yml").write_text(f"$schema: {schema}\nname: mine\n", encoding="utf-8")
    described = endpoint_file("online", "Mine", tmp_path)
    assert described and described.file.path == tmp_path / "online-endpoint.yml"


def test_the_next_command_works_in_the_same_place() -> None:
    azure = Where(True, None, "ID", "ours", "mine")
    assert azure.options == ["--azure", "--subscription", "ID", "--resource-group", "ours", "--workspace", "mine"]
    assert Where(azure=True).options == ["--azure"]
    assert Where(state=Path("there")).options == ["--asset-dir", "there"]


def test_without_a_workspace_azure_is_not_asked(asset: Asset) -> None:
    done = asset("deploy", "-f", "deployment/online-endpoint.yml", "--azure", "--workspace", "mine", status=2)
    assert "the Azure Machine Learning workspace is not named: subscription_id" in done.stderr


def test_kinds_are_told_by_their_schema(files: Path) -> None:
    found = {path.name: read_kind(path)[:2] for path in (files / "deployment").glob("*.yml")}
    assert found == {
        "online-endpoint.yml": ("online", "endpoint"),
        "online-endpoint-blue-green.yml": ("online", "endpoint"),
        "online-deployment-blue.yml": ("online", "deployment"),
        "online-deployment-green.yml": ("online", "deployment"),
        "batch-endpoint.yml": ("batch", "endpoint"),
        "batch-deployment.yml": ("batch", "deployment"),
    }
    assert parse_traffic("Blue=90, green=10") == {"blue": 90, "green": 10}


@pytest.fixture
def on_azure(monkeypatch: pytest.MonkeyPatch, files: Path) -> Iterator[tuple[FakeAzure, Callable[..., Any]]]:
    """The command in this process, with MLClient on the stand-in for Azure."""
    monkeypatch.chdir(files)
    with fake_azure() as azure:
        monkeypatch.setattr(Where, "client", lambda self: azure.client() if self.azure else pytest.fail("local"))

        def run(*arguments: str) -> dict[str, Any]:
            result = CliRunner().invoke(app, [*arguments, "--json"])
            assert result.exit_code == 0, result.output
            return json.loads(result.stdout)

        yield azure, run


def test_the_same_files_are_deployed_to_azure(on_azure: tuple[FakeAzure, Callable[..., Any]]) -> None:
    azure, run = on_azure
    told = run("deploy", "-f", "deployment/online-deployment-blue.yml", "--azure")
    assert told["scoring_uri"] == "https://tiny-endpoint.inference.ml.azure.com/score"
    assert told["invoke"].endswith("invoke --azure tiny-endpoint --request-file sample_input.json")
    sent = azure.bodies["onlineEndpoints/tiny-endpoint/deployments/blue"]["properties"]
    assert sent["instanceType"] == "Standard_DS3_v2"
    assert azure.bodies["onlineEndpoints/tiny-endpoint"]["properties"]["traffic"] == {"blue": 100}
    run("deploy", "-f", "deployment/online-deployment-green.yml", "--azure", "--traffic", "blue=90,green=10")
    endpoint = azure.bodies["onlineEndpoints/tiny-endpoint"]
    assert endpoint["properties"]["traffic"] == {"blue": 90, "green": 10}
    assert endpoint["tags"] == {"team": "ours"}  # of the file beside
    assert run("invoke", "tiny-endpoint", "--azure")["answer"] == ["capital", "beautiful"]


def test_a_job_is_submitted_to_azure(on_azure: tuple[FakeAzure, Callable[..., Any]]) -> None:
    azure, run = on_azure
    told = run("submit", "-f", "job.yml", "--set", "inputs.mode=words")
    sent = azure.bodies[f"jobs/{told['name']}"]["properties"]
    assert sent["inputs"]["mode"]["value"] == "words"
    assert told["job_status"] == "Starting"


def test_a_wrong_job_is_told_before_anybody_signs_in(asset: Asset) -> None:
    done = asset("submit", "-f", "job.yml", "--set", "inputs.mod=words", status=2)
    assert "the job has no input 'mod'; expected one of data, mode, flag; rename it to mode" in done.stderr


def test_a_request_that_is_no_json_is_named(asset: Asset, tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text("{", encoding="utf-8")
    done = asset("invoke", "tiny-endpoint", "--request-file", str(file), status=2)
    assert f"the request in {file} is not JSON: Expecting property name" in done.stderr


def test_serve_is_the_local_server(asset: Asset, files: Path, state: Path) -> None:
    done = asset("serve", "--model", "gone", "--port", "0", status=1)
    assert "there is no model folder gone" in done.stderr
    assert not database(state).exists()  # nothing here needed MLflow


def test_the_list_says_what_is_wrong_with_a_deployment(deployed: Asset, files: Path) -> None:
    script = (files / "app/score.py").read_text(encoding="utf-8")
    told = json.loads(deployed("endpoints", "list", "--json").stdout)["endpoints"][0]["deployments"]["blue"]
    try:
        (files / "app/score.py").write_text("raise RuntimeError('broken')\n", encoding="utf-8")
        os.kill(told["pid"], signal.SIGKILL)
        deadline = time.monotonic() + 60
        while "failing" not in (shown := deployed("endpoints", "list").stdout):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert "the inference server stopped with status 3" in shown
        assert "see `asset endpoints logs tiny-endpoint blue`" in shown
    finally:
        (files / "app/score.py").write_text(script, encoding="utf-8")
