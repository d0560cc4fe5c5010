"""A fault of ours is answered as one, and told to the log only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from serving.fill_mask import FillMask
from serving.service import Service
from serving.settings import Settings


def test_a_fault_of_ours_is_a_500_that_says_nothing_of_the_inside(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(FillMask.load(checkpoint, "fp32"), Settings())

    def broken(*_: object) -> None:
        raise RuntimeError("ONNX Runtime ran out of memory in /some/path")

    monkeypatch.setattr(service.model.engine, "run", broken)
    answer = service.answer('{"input_data": ["The [MASK] sat."]}')
    assert answer.status == 500
    assert answer.body["error"]["code"] == "internal_error"
    assert "/some/path" not in json.dumps(answer.body)
    assert answer.headers == {"x-model-name": "tiny-bert"}
    assert "ran out of memory" in caplog.text
