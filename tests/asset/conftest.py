"""The facts of the model card, and a store for MLflow, built once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from asset.local.jobs.tracking import database, set_up

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def facts() -> dict[str, Any]:
    """Return the facts of the public model card, where the checkout has them beside it."""
    path = ROOT.parent / "shared" / "asset_facts.yaml"
    if not path.is_file():
        pytest.skip("the facts of the model card are not beside this checkout (../shared/asset_facts.yaml)")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store: setting one up takes seconds."""
    state = tmp_path_factory.mktemp("store")
    set_up(state)
    return database(state)
