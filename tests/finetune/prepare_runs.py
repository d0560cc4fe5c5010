"""Runs of prepare with the tiny checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import FinetuneError
from finetune.prepare.__main__ import main
from finetune.prepare.prepared import PreparedFolder, Settings
from tests.finetune.prepare_samples import argv


@pytest.fixture
def run(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Settings, str, str]]:
    """Prepare with the tiny checkpoint; gives the settings, stdout and stderr."""

    def prepared(given: dict[str, Any], **more: object) -> tuple[Settings, str, str]:
        values = {"prepared": tmp_path / "out", "pytorch_model_path": checkpoint, **given, **more}
        status = main(argv(values))
        said = capsys.readouterr()
        assert status == 0, said.err
        return PreparedFolder(values["prepared"]).settings(), said.out, said.err

    return prepared


@pytest.fixture
def refused(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Prepare what is refused; gives the one line that says why."""

    def told(given: dict[str, Any], **more: object) -> str:
        values = {"prepared": tmp_path / "out", "pytorch_model_path": checkpoint, **given, **more}
        assert main(argv(values)) == 1
        with pytest.raises(FinetuneError):
            PreparedFolder(values["prepared"]).settings()
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        return lines[0]

    return told
