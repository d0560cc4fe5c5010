"""Files of a model or a data set are fetched into the hub's cache, where huggingface_hub finds them too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from asset.models.errors import ModelError, NotAsListed, RequestError
from asset.models.fetch import fetch
from tests.asset.models.conftest import REPOSITORY, Puller, names
from tests.loopback_hub import Repository

ROOT = Path(__file__).resolve().parents[3]
WEIGHTS = "model.safetensors"


def test_the_files_that_suit_a_pattern_are_fetched_once(puller: Puller, tiny: dict[str, bytes]) -> None:
    fetched = fetch(puller.hub(), REPOSITORY, ["config.json", "model*.safetensors"])
    assert names(fetched.folder) == ["config.json", WEIGHTS]
    assert (fetched.folder / WEIGHTS).read_bytes() == tiny[WEIGHTS]
    assert set(fetched.names) == set(tiny)
    puller.loopback.requests.clear()
    assert fetch(puller.hub(), REPOSITORY, [WEIGHTS]) == fetched
    assert not puller.loopback.files_gotten()


def test_huggingface_hub_finds_the_files_without_a_network(puller: Puller) -> None:
    fetched = fetch(puller.hub(), REPOSITORY, ["*"])
    folder = snapshot_download(REPOSITORY, cache_dir=puller.home / "hub", local_files_only=True)
    assert Path(folder) == fetched.folder
    assert fetch(puller.hub(offline=True), REPOSITORY, [WEIGHTS]).folder == fetched.folder


def test_a_fetch_goes_on_from_the_bytes_of_one_that_failed(puller: Puller, tiny: dict[str, bytes]) -> None:
    repository = puller.loopback.repositories[REPOSITORY]
    repository.cuts = 1000
    with pytest.raises(ModelError, match="found the connection cut"):
        fetch(puller.hub(), REPOSITORY, [WEIGHTS])
    repository.cuts, puller.loopback.sent = 0, 0
    fetched = fetch(puller.hub(), REPOSITORY, [WEIGHTS])
    assert (fetched.folder / WEIGHTS).read_bytes() == tiny[WEIGHTS]
    assert puller.loopback.sent < 0.2 * len(tiny[WEIGHTS])


def test_bytes_that_are_not_as_listed_are_not_kept(puller: Puller) -> None:
    puller.loopback.repositories[REPOSITORY].altered = 1
    with pytest.raises(NotAsListed):
        fetch(puller.hub(), REPOSITORY, [WEIGHTS])
    assert not [path for path in (puller.home / "hub").rglob("*") if path.is_file() and path.name != "asset.lock"]


def test_a_name_that_leads_out_of_the_cache_is_not_fetched(
    puller: Puller, tiny: dict[str, bytes], tmp_path: Path
) -> None:
    puller.loopback.repositories[REPOSITORY] = Repository({**tiny, "model-/../../../x.safetensors": b"out"})
    fetch(puller.hub(), REPOSITORY, ["model-*.safetensors", "model-*/*/*/*/*.safetensors"])
    assert not list(tmp_path.glob("**/x.safetensors"))


def test_a_repository_that_is_not_there_is_a_request_that_cannot_be_met(puller: Puller) -> None:
    with pytest.raises(RequestError, match="check the name"):
        fetch(puller.hub(), "some/none", ["*"])


def test_the_command_answers_in_a_line_of_json(puller: Puller, tmp_path: Path) -> None:
    answers = []
    for repository in (REPOSITORY, "some/none"):
        done = subprocess.run(
            [sys.executable, "-m", "asset.models.fetch", repository, "config.json"],
            cwd=ROOT,
            env=puller.loopback.environment(tmp_path / "home"),
            capture_output=True,
            text=True,
            check=False,
        )
        answers.append((done.returncode, json.loads(done.stdout), done.stderr))
    (status, answer, _), (refused, error, _) = answers
    assert (status, Path(answer["folder"]).name) == (0, answer["commit"])
    assert (refused, error["code"]) == (2, "not_found")
