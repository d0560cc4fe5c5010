"""A fault of ours is answered as one, and told to the log only."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.answering.fill_mask import FillMask
from serving.answering.service import Service
from serving.settings import Settings


@pytest.fixture(scope="module")
def service(sharp_checkpoint: Path) -> Service:
    return Service(FillMask.load(sharp_checkpoint, "int8"), Settings())


TEXTS = st.text(max_size=30) | st.builds("{}[MASK]{}".format, st.text(max_size=40), st.text(max_size=40))
PARAMETERS = st.fixed_dictionaries(
    {}, optional={"top_k": st.integers(-1, 2000), "targets": st.lists(st.text(min_size=1, max_size=8), max_size=3)}
)


@given(texts=TEXTS | st.lists(TEXTS, max_size=4), parameters=PARAMETERS)
def test_any_texts_with_any_parameters_get_an_answer_or_a_4xx(
    service: Service, texts: str | list[str], parameters: dict[str, object]
) -> None:
    answer = service.answer(json.dumps({"inputs": texts, "parameters": parameters}))
    json.dumps(answer.body, allow_nan=False)
    assert answer.status < 500
    if answer.status == 200 and isinstance(texts, list):
        assert len(answer.body) == len(texts)


def test_a_fault_of_ours_is_a_500_that_says_nothing_of_the_inside(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(FillMask.load(checkpoint, "fp32"), Settings())

    reason = "ONNX Runtime ran out of memory in /some/path"

    def broken(*_: object) -> None:
        raise RuntimeError(reason)

    monkeypatch.setattr(service.model.engine, "run", broken)
    caplog.set_level(logging.DEBUG, "serving")
    answer = service.answer('{"input_data": ["The [MASK] sat."]}')
    assert answer.status == 500
    assert answer.body["error"]["code"] == "internal_error"
    assert "/some/path" not in json.dumps(answer.body)
    assert answer.headers.pop("x-model-name") == "tiny-bert"
    assert set(answer.headers) == {"Server-Timing", "x-batch-rows"}
    assert "in broken" in caplog.text  # where it was
    # What it said may quote the user's text, and is for those alone who ask for it.
    said = [record.levelname for record in caplog.records if "ran out of memory" in caplog.handler.format(record)]
    assert said == ["DEBUG"]
