"""A request that has no place is refused before the server's own work on it; everything else goes through."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder

from serving.answering.fill_mask import FillMask
from serving.answering.service import Service
from serving.http.early_refusal import EarlyRefusal
from serving.settings import Settings

LONG_ID = "x" * 101


@pytest.fixture(scope="module")
def service(sharp_checkpoint: Path) -> Service:
    return Service(FillMask.load(sharp_checkpoint, "int8", settings=Settings(max_queue=1)), Settings(max_queue=1))


@pytest.fixture
def full(service: Service) -> Iterator[Service]:
    with service.model.engine.admitted():
        yield service


def asked(
    service: Service, method: str = "POST", path: str = "/score", **headers: str
) -> tuple[int, Any, dict[str, str]]:
    """Return status, body and headers; 200 and None where the request went through. Both sides are held to PEP 3333."""
    app = Flask("inner")
    app.add_url_rule(path, view_func=lambda: "through", methods=[method], provide_automatic_options=False)
    app.wsgi_app = validator(EarlyRefusal(app.wsgi_app, service))
    body = io.BytesIO(b"{}")
    answer = app.test_client().open(path, method=method, input_stream=body, headers=headers, buffered=True)
    return answer.status_code, None if answer.text == "through" else answer.json, dict(answer.headers)


def test_a_score_without_a_place_is_refused_as_the_service_would(full: Service) -> None:
    status, body, headers = asked(full, **{"x-request-id": "mine", "x-ms-client-request-id": LONG_ID})
    late = full.answer('{"input_data": []}')
    assert (status, body) == (late.status, late.body) == (429, json.loads(json.dumps(late.body)))
    assert headers.pop("x-request-id") == "mine"
    assert headers.pop("Content-Type") == "application/json"
    assert headers.pop("Content-Length") == str(len(json.dumps(body)))
    assert headers == late.headers


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/swagger.json"), ("OPTIONS", "/score")])
def test_what_is_no_score_goes_through(full: Service, method: str, path: str) -> None:
    assert asked(full, method, path)[:2] == (200, None)


def test_a_score_by_another_name_is_a_score(full: Service) -> None:
    # As gunicorn has it for the path //score, which the server takes for /score.
    environ = EnvironBuilder("/score", method="POST", data=b"{}").get_environ() | {"PATH_INFO": "//score"}
    told: list[str] = []
    EarlyRefusal(lambda *_: [b"through"], full)(environ, lambda status, *_: told.append(status))  # type: ignore[arg-type,return-value]
    assert told == ["429 Too Many Requests"]


def test_a_score_with_a_place_goes_through_and_keeps_none(service: Service) -> None:
    assert [asked(service)[:2] for _ in range(3)] == [(200, None)] * 3
