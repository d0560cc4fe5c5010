"""A text that the tiny checkpoint can learn, and the fixtures of the modules beside this one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.finetune.prepare_runs import refused, run
from tests.finetune.prepared_folders import asked, labelled, make_prepared
from tests.finetune.train_runs import one_thread
from tests.finetune.tuned_run import make_run

__all__ = ["asked", "labelled", "make_prepared", "make_run", "one_thread", "refused", "run"]


@pytest.fixture(scope="session")
def text_file(lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "lines.txt"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.fixture(autouse=True)
def environment_as_it_was() -> Iterator[None]:
    """Undo what training sets for the libraries in its process, which is that of other tests here."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
