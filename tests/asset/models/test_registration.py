"""A packaged folder is a version of a registered model, with the number that is asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from asset.local.jobs.tracking import tracking_uri
from asset.models.errors import ModelError, RequestError
from asset.models.package import package
from asset.models.registration import PLACEHOLDER, Registered, register

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def client(state: Path) -> MlflowClient:
    return MlflowClient(tracking_uri(state), registry_uri=tracking_uri(state))


def versions(client: MlflowClient) -> list[int]:
    return sorted(int(one.version) for one in client.search_model_versions("name = 'bert'"))


def test_a_version_has_the_number_that_is_asked_for(state: Path, client: MlflowClient, tmp_path: Path) -> None:
    registered = register(state, tmp_path, "bert", 17, {"commit": "abc"}, "a note")
    assert (registered, registered.uri) == (Registered("bert", 17), "models:/bert/17")
    assert versions(client) == [17]
    found = client.get_model_version("bert", "17")
    assert (found.source, found.tags, found.description) == (tmp_path.as_uri(), {"commit": "abc"}, "a note")
    assert register(state, tmp_path / "other", "bert", None, {}).version == 18


def test_the_same_folder_stays_the_same_version(state: Path, client: MlflowClient, tmp_path: Path) -> None:
    register(state, tmp_path, "bert", 3, {"commit": "abc"})
    assert register(state, tmp_path, "bert", 3, {"commit": "def"}) == Registered("bert", 3, fresh=False)
    assert register(state, tmp_path, "bert", None, {"commit": "def"}) == Registered("bert", 3, fresh=False)
    assert client.get_model_version("bert", "3").tags == {"commit": "def"}
    assert register(state, tmp_path, "bert", 5, {}).fresh
    assert versions(client) == [3, 5]


def test_a_number_that_is_another_folders_is_told(state: Path, client: MlflowClient, tmp_path: Path) -> None:
    register(state, tmp_path, "bert", 3, {})
    with pytest.raises(RequestError, match=f"expected a free version of bert, found that 3 is {tmp_path.as_uri()}"):
        register(state, tmp_path / "other", "bert", 3, {})
    with pytest.raises(RequestError, match="expected one that MLflow can give to bert, which counts upward"):
        register(state, tmp_path / "other", "bert", 2, {})
    with pytest.raises(RequestError, match="choose one of the next 1,000"):
        register(state, tmp_path / "other", "bert", 100_000, {})
    assert versions(client) == [3]


def test_what_a_registration_that_was_killed_left_is_cleared(state: Path, client: MlflowClient, tmp_path: Path) -> None:
    client.create_registered_model("bert")
    client.create_model_version("bert", tmp_path.as_uri(), tags={PLACEHOLDER: "yes"})
    assert register(state, tmp_path, "bert", 3, {}).fresh
    assert versions(client) == [3]


def test_a_registered_model_is_loaded_by_its_name(state: Path, checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(checkpoint, folder)
    package(folder)
    registered = register(state, folder, "tiny", 2, {})
    rows = [{"input_string": "the [MASK] sat"}]
    code = f"import mlflow; print(len(mlflow.pyfunc.load_model({registered.uri!r}).predict({rows!r})))"
    # In a process of its own: MLflow keeps the store that it is given for all that the process does after it.
    environ = os.environ | {"MLFLOW_TRACKING_URI": tracking_uri(state)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


@pytest.mark.parametrize("name", ["", "a/b", "a:b", " ", "ä", "-a"])
def test_a_name_that_azure_would_not_take_is_told(state: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match="--name: expected letters, digits"):
        register(state, tmp_path, name, None, {})


def test_a_store_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no store" * 1000)
    with pytest.raises(ModelError, match="expected a store of MLflow's, found: .*; mend or remove it"):
        register(tmp_path, tmp_path, "bert", 1, {})
