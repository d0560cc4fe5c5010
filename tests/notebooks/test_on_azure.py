"""With `local = False` the same cells are accepted by Azure's own client, on a stand-in for the service.

The stand-in keeps what it is sent and refuses what Azure would. It runs no job and no server, so cells that look at what came
of one are left out, and answers are the test's own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import azure.identity
import matplotlib.pyplot as plt
import nbformat
import pytest
import requests
from azure.ai.ml.entities import Model
from azure.ai.ml.operations import JobOperations

import asset.local.client.workspace
from asset.environments import ROOT
from asset.local.client.workspace import VARIABLES
from asset.tools.notebooks import NOTEBOOKS
from tests.asset.local.client.fake_azure import GROUP, HOST, SUBSCRIPTION, WORKSPACE, Credential, FakeAzure, fake_azure

PARTS = ("deployment", "environment", "evaluation", "finetune", "model/embedded", "notebooks", "serving")
FILES = (".amlignore", "sample_input.json", "score.py")
NAMES = {"subscription_id": SUBSCRIPTION, "resource_group_name": GROUP, "workspace_name": WORKSPACE}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the notebooks name of a fresh checkout: in one with its environments, the client looks at each of their files."""
    folder = tmp_path_factory.mktemp("checkout")
    left_out = shutil.ignore_patterns("__pycache__", ".compiled", ".built")
    for name in PARTS:
        shutil.copytree(ROOT / name, folder / name, ignore=left_out)
    for name in FILES:
        shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture
def service(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAzure]:
    """The stand-in, as the workspace that the environment names; a person is signed in."""
    with fake_azure() as found:
        for name, variables in VARIABLES.items():
            for variable in variables:
                monkeypatch.setenv(variable, NAMES[name])
        monkeypatch.setattr(azure.identity, "DefaultAzureCredential", Credential)
        monkeypatch.setattr(asset.local.client.workspace, "MLClient", lambda *named: found.client())
        monkeypatch.setattr(JobOperations, "stream", lambda self, name: None)
        monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", to_the_stand_in(found))
        monkeypatch.chdir(checkout / "notebooks")
        yield found
        assert found.unknown == []


def to_the_stand_in(service: FakeAzure) -> Callable[..., requests.Response]:
    """Return what sends requests to an endpoint's address to the stand-in, as the transport of its client does."""
    send = requests.adapters.HTTPAdapter.send

    def redirected(self: Any, request: requests.PreparedRequest, **given: Any) -> requests.Response:  # noqa: ANN401
        host = requests.utils.urlparse(str(request.url)).netloc
        if host.endswith(".inference.ml.azure.com"):
            request.headers[HOST] = host
            request.url = str(request.url).replace(f"https://{host}", f"http://{service.address}")
        return send(self, request, **given)

    return redirected


def run(name: str, *left_out: str) -> None:
    """Run a notebook's cells with the switch the other way, but for those that are left out."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    found: dict[str, object] = {}
    cells = {cell.id: cell.source for cell in notebook.cells if cell.cell_type == "code"}
    assert set(left_out) <= set(cells)
    assert cells["switch"].startswith("local = True ")
    cells["switch"] = cells["switch"].replace("local = True ", "local = False ", 1)
    with plt.rc_context({"backend": "agg"}):
        for key in cells:
            if key not in left_out:
                exec(compile(cells[key], f"{name}.ipynb, cell {key}", "exec"), found)
        plt.close("all")


def fill_mask(content: dict[str, Any]) -> tuple[int, Any]:
    """Answer as score.py does."""
    parameters = content.get("parameters", {})
    if any("[MASK]" not in text for text in content["input_data"]):
        return 424, {"error": {"code": "missing_mask", "message": "input_data[1] has no [MASK] token"}}
    if not parameters:
        return 200, ["capital" for _ in content["input_data"]]
    words = parameters.get("targets") or ["a", "b", "c", "d", "e"]
    return 200, [
        [{"token_str": word, "score": 0.1, "sequence": text.replace("[MASK]", word)} for word in words]
        for text in content["input_data"]
    ]


def register_the_asset(service: FakeAzure, folder: Path) -> None:
    (folder / "model").mkdir()
    (folder / "model/MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    model = Model(name="bert-base-cased", version="17", path=folder / "model", type="mlflow_model")
    service.client().models.create_or_update(model)


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_sdk_example(service: FakeAzure, capsys: pytest.CaptureFixture[str]) -> None:
    service.answer = fill_mask
    run("sdk-example")
    out = capsys.readouterr().out
    assert "Paris is the *capital* of France." in out and "She plays the hammer in an orchestra." in out
    assert "424" in out
    sent = [body for path, body in service.bodies.items() if path.startswith("models/")]
    assert [body["properties"]["modelType"] for body in sent] == ["mlflow_model"]
    # The endpoint is gone again.
    assert [path for path in service.bodies if path.startswith("onlineEndpoints")] == []
    assert len(service.scored) == 4


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_fill_mask_online_endpoint(service: FakeAzure, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register_the_asset(service, tmp_path)
    service.answer = fill_mask
    run("fill-mask-online-endpoint")
    out = capsys.readouterr().out
    assert "our key: status 200" in out and "a wrong key: status 401" in out
    assert "{'blue': 200}" in out  # the stand-in has no servers, and says of each answer that it is blue's
    assert [path for path in service.bodies if path.startswith("onlineEndpoints")] == []


def test_evaluate_model_fill_mask(service: FakeAzure, tmp_path: Path) -> None:
    register_the_asset(service, tmp_path)
    run("evaluate-model-fill-mask", "download", "metrics", "calibration", "slices", "answers")
    (job,) = (body["properties"] for path, body in service.bodies.items() if path.startswith("jobs/"))
    assert (job["jobType"], job["experimentName"]) == ("Pipeline", "evaluate-model-fill-mask")
    assert job["inputs"]["mlflow_model"]["uri"].endswith("models/bert-base-cased/versions/17")


def test_finetune_text_classification(service: FakeAzure, tmp_path: Path) -> None:
    register_the_asset(service, tmp_path)
    labels = {"label": "POSITIVE", "score": 0.9}
    service.answer = lambda content: (200, [labels for _ in content["input_data"]])
    run("finetune-text-classification", "learning", "metrics")
    tuned, test = (body["properties"] for path, body in service.bodies.items() if path.startswith("jobs/"))
    assert tuned["inputs"]["num_train_epochs"]["value"] in (4, "4")
    (name,) = (path.removeprefix("jobs/") for path in service.bodies if service.bodies[path]["properties"] is tuned)
    (model,) = (body["properties"] for path, body in service.bodies.items() if path.startswith("models/sentiment"))
    assert model["modelUri"] == f"azureml://jobs/{name}/outputs/mlflow_model_folder"
    assert "models/sentiment-example/versions/" in test["inputs"]["mlflow_model"]["uri"]
