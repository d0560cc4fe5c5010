"""The commands `asset pull` and `asset package`, from the hub to the answer of score.py."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from typer.testing import CliRunner, Result

from asset.cli.main import app
from asset.local.jobs.tracking import tracking_uri
from asset.models.selection import LATER, Asset
from serving.answering.service import Service
from tests.asset.models.conftest import REPOSITORY, Puller, names, require_same
from tests.loopback_hub import LoopbackHub, Repository

ROOT = Path(__file__).resolve().parents[3]


def asset_pull(
    loopback: LoopbackHub, state: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own: huggingface_hub reads its settings once."""
    return subprocess.run(
        [sys.executable, "-m", "asset.cli.main", "pull", *arguments],
        cwd=ROOT,
        env=loopback.environment(state / "home", ASSET_DIR=str(state), **environment),
        capture_output=True,
        text=True,
        check=False,
    )


def versions(state: Path, name: str) -> Mapping[int, Any]:
    client = MlflowClient(tracking_uri(state), registry_uri=tracking_uri(state))
    return {int(one.version): one for one in client.search_model_versions(f"name = '{name}'")}


def test_the_asset_is_pulled_packaged_registered_and_served(
    puller: Puller, tiny: dict[str, bytes], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its old name, at a pinned commit without safetensors, over connections that are cut."""
    asset = Asset.read()
    pinned = {name: data for name, data in tiny.items() if name != "model.safetensors"}
    repository = Repository(tiny, at=LATER, history={asset.commit: pinned}, cuts=1)
    puller.loopback.repositories["google-bert/bert-base-cased"] = repository
    puller.loopback.moved[asset.repository] = "google-bert/bert-base-cased"
    arguments = ["--output", str(puller.folder), "--json"]
    done = asset_pull(puller.loopback, state, *arguments)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["status"], told["commit"], told["asked"]["revision"]) == ("pulled", LATER, asset.commit)
    assert told["note"] in done.stderr
    assert f"{asset.commit} has no model.safetensors, only pytorch_model.bin" in told["note"]
    assert told["model"] == {"name": asset.name, "version": asset.version, "uri": "models:/bert-base-cased/17"}
    require_same(puller.folder, tiny)
    assert names(puller.folder.parent) == [puller.folder.name]
    metadata = yaml.safe_load((puller.folder / "MLmodel").read_text(encoding="utf-8"))["metadata"]
    assert (metadata["commit"], metadata["pinned_commit"]) == (LATER, asset.commit)
    assert metadata["commit_note"] == told["note"]
    assert metadata["model_name"] == asset.name
    [(number, version)] = versions(state, asset.name).items()
    assert (number, version.source, version.description) == (17, puller.folder.as_uri(), told["note"])
    assert version.tags["commit"] == LATER
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(puller.folder))
    answer = Service.start(ROOT).answer('{"input_data": ["the [MASK] sat"]}')
    assert answer.status == 200, answer.body

    puller.loopback.requests.clear()
    again = asset_pull(puller.loopback, state, *arguments[:2], HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines() == [
        f"{puller.folder}: google-bert/bert-base-cased at {LATER} is unchanged, and each file is as the hub lists it",
        f"{puller.folder}: an MLflow model for fill-mask, registered as models:/bert-base-cased/17",
    ]
    assert not puller.loopback.requests


@pytest.mark.parametrize(
    ("arguments", "status", "code", "message"),
    [
        (["--model-id", "some/none"], 2, "not_found", "check the name, and set HF_TOKEN if it is private"),
        (["--model-id", REPOSITORY, "--revision", "v9"], 2, "not_found", "found no revision 'v9' of it; name another"),
        (["--model-id", "some/down"], 1, "denied", "found none that may be read (status 403)"),
    ],
)
def test_a_fault_is_told_in_a_line_and_in_json(
    puller: Puller, state: Path, arguments: list[str], status: int, code: str, message: str
) -> None:
    puller.loopback.repositories["some/down"] = Repository({}, status=403)
    done = asset_pull(puller.loopback, state, *arguments, "--output", str(puller.folder), "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["code"]) == (status, code)
    assert told["status"] == ("invalid" if status == 2 else "failed")
    assert message in told["message"]
    assert done.stderr == told["message"] + "\n"
    puller.require_nothing()


def asset_package(state: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["package", *arguments], env={"ASSET_DIR": str(state)})


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    made = tmp_path / "my model"
    shutil.copytree(checkpoint, made, ignore=shutil.ignore_patterns(".compiled"))
    return made


def test_a_folder_is_packaged_and_registered_by_its_name(state: Path, folder: Path) -> None:
    done = asset_package(state, "--model", str(folder), "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["model"] == {"name": "my-model", "version": 1, "uri": "models:/my-model/1"}
    assert (told["status"], told["task"], told["folder"]) == ("packaged", "fill-mask", str(folder))
    assert set(told["metadata"]) == {"sha256"}
    done = asset_package(state, "--model", str(folder), "--name", "other", "--version", "5")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{folder}: an MLflow model for fill-mask, registered as models:/other/5\n"
    assert list(versions(state, "my-model")) == [1]
    assert list(versions(state, "other")) == [5]


def test_the_asset_elsewhere_gets_the_next_version_where_its_own_is_taken(
    state: Path, folder: Path, tmp_path: Path
) -> None:
    asset = Asset.read()
    record = {"repository": "google-bert/bert-base-cased", "commit": LATER, "asked_repository": asset.repository}
    record |= {"asked_revision": asset.commit, "note": None, "files": {}, "joined": {}}
    (folder / "pulled.json").write_text(json.dumps(record), encoding="utf-8")
    shutil.copytree(folder, tmp_path / "second")
    found = []
    for model in (folder, tmp_path / "second", folder):
        done = asset_package(state, "--model", str(model), "--json")
        assert done.exit_code == 0, done.output
        found.append(json.loads(done.stdout)["model"]["uri"])
    assert found == ["models:/bert-base-cased/17", "models:/bert-base-cased/18", "models:/bert-base-cased/17"]
    assert yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))["metadata"]["model_name"] == asset.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "none"], "expected a model folder, found no such folder"),
        (["--name", "a/b"], "--name: expected letters, digits, '.', '_' and '-'"),
        (["--version", "0"], "--version: 0 is less than 1"),
        (["--version", "99999"], "expected one that MLflow can give to my-model, which counts upward"),
    ],
)
def test_what_cannot_be_packaged_is_told(state: Path, folder: Path, arguments: list[str], message: str) -> None:
    done = asset_package(state, "--model", str(folder), "--json", *arguments)
    told = json.loads(done.stdout)
    assert (done.exit_code, told["status"]) == (2, "invalid")
    assert message in told["message"]
    assert done.stderr == told["message"] + "\n"


def test_the_asset_that_is_not_here_is_told_how_to_get(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.model.model_folder.has_weights", lambda folder: False)
    done = asset_package(state)
    assert done.exit_code == 2
    assert done.stderr.endswith("bert-base-cased has no weights; get them with `asset pull`\n")


@pytest.mark.parametrize("command", ["pull", "package"])
def test_the_help_of_a_command_teaches_it(command: str) -> None:
    told = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).stdout
    assert f"asset {command}\n" in re.sub(r" +\n", "\n", told)
    assert "Exit status: 0 if the" in told or "Exit status: 0 if it" in told
    assert "--json" in told
