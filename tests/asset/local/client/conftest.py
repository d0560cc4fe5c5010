"""A small asset, the stand-in for Azure, and clients."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from asset import client
from asset.local.client.client import LocalClient
from asset.local.endpoints.link import LocalEndpoint
from asset.local.endpoints.records import endpoints
from asset.local.jobs.tracking import database, set_up
from tests.asset.local.client.asset_files import write_asset
from tests.asset.local.client.fake_azure import FakeAzure, fake_azure


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store: setting one up takes seconds."""
    state = tmp_path_factory.mktemp("store")
    set_up(state)
    return database(state)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small asset, as the current folder."""
    folder = write_asset(tmp_path / "asset")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def ml_client(store: Path, tmp_path: Path) -> Iterator[LocalClient]:
    """The client of this machine; its endpoints are deleted after the test."""
    state = tmp_path / "state"
    state.mkdir()
    shutil.copy(store, database(state))
    yield client(local=True, asset_dir=state)
    for folder in endpoints(state):
        LocalEndpoint(folder).delete()


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    with fake_azure() as found:
        yield found
        assert found.unknown == []
