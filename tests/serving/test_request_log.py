"""Each request has an id and one line in the log, which says what it took and nothing of what it was."""

from __future__ import annotations

import io
import json
import logging
import re
import timeit
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest
from flask import Flask, request
from hypothesis import given
from hypothesis import strategies as st

from serving.answering.fill_mask import FillMask
from serving.answering.service import Service
from serving.http.early_refusal import EarlyRefusal
from serving.http.inference_server import CallersTrace
from serving.http.request_log import ANSWER, LONGEST, RequestLog, is_id, new_id, trace_id
from serving.settings import Settings

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def service(sharp_checkpoint: Path) -> Service:
    settings = Settings(max_queue=1)
    return Service(FillMask.load(sharp_checkpoint, "int8", settings=settings), settings)


@pytest.fixture
def told() -> Iterator[io.StringIO]:
    """What the log of requests is, as text."""
    stream = io.StringIO()
    handler, logger = logging.StreamHandler(stream), logging.getLogger("serving.requests")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)


def app_of(service: Service) -> Flask:
    app = Flask("inner")

    @app.post("/score")
    def score() -> tuple[object, int, dict[str, str]]:
        answer = service.answer(request.get_data(as_text=True))
        request.environ[ANSWER] = answer
        return answer.body, answer.status, {**answer.headers, "sent-on": request.headers.get("x-request-id", "")}

    @app.get("/")
    def healthy() -> str:
        return "Healthy"

    @app.get("/swagger.json")
    def fails() -> str:
        raise ZeroDivisionError

    app.wsgi_app = validator(RequestLog(EarlyRefusal(app.wsgi_app, service), "fill-mask"))
    return app


def ask(service: Service, body: object = None, path: str = "/score", method: str = "POST", **headers: str) -> Any:  # noqa: ANN401
    """Return the answer; both sides of the middleware are held to PEP 3333."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = io.BytesIO(json.dumps(body).encode())
    return app_of(service).test_client().open(path, method=method, input_stream=content, headers=named, buffered=True)


def test_an_answer_has_one_line_with_what_it_took(service: Service, told: io.StringIO) -> None:
    answer = ask(service, {"input_data": ["the [MASK] sat", "the cat sat on the [MASK]"]}, x_request_id="mine")
    [line] = map(json.loads, told.getvalue().splitlines())
    assert list(line) == [
        *("time", "pid", "request_id", "method", "path", "task", "rows", "tokens"),
        *("queue_ms", "tokenize_ms", "compute_ms", "total_ms", "status"),
    ]
    found = {name: line[name] for name in ("request_id", "method", "path", "task", "rows", "tokens", "status")}
    wanted = ("mine", "POST", "/score", "fill-mask", 2, 5 + 8, 200)
    assert found == dict(zip(found, wanted, strict=True))
    timing = dict(re.findall(r"(\w+);dur=([\d.]+)", answer.headers["Server-Timing"]))
    assert {f"{name}_ms": float(value) for name, value in timing.items()} == {
        name: line[name] for name in ("queue_ms", "tokenize_ms", "compute_ms")
    }
    assert line["total_ms"] >= line["compute_ms"]
    assert answer.headers["x-request-id"] == answer.headers["sent-on"] == "mine"


def test_a_refusal_has_its_code_in_the_line(service: Service, told: io.StringIO) -> None:
    ask(service, {"input_data": ["nothing", "hidden"]})
    with service.model.engine.admitted():
        ask(service, {"input_data": []}, x_ms_client_request_id="theirs")
    missing, full = map(json.loads, told.getvalue().splitlines())
    assert (missing["status"], missing["code"], missing["rows"], missing["tokens"]) == (400, "missing_mask", 2, 0)
    assert (full["status"], full["code"], full["client_request_id"], full["rows"]) == (429, "queue_full", "theirs", 0)


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
def test_what_is_no_score_has_a_line_without_counts_and_a_probe_has_none(service: Service, told: io.StringIO) -> None:
    assert ask(service, path="/", method="GET").status_code == 200
    assert ask(service, path="/my/secret?also=secret", method="GET").status_code == 404
    assert ask(service, path="/score", method="PURGE").status_code == 405
    assert ask(service, path="/swagger.json", method="GET").status_code == 500
    keys = ("method", "path", "status")
    found = [tuple(line[key] for key in keys) for line in map(json.loads, told.getvalue().splitlines())]
    assert found == [("GET", "other", 404), ("other", "/score", 405), ("GET", "/swagger.json", 500)]
    assert "rows" not in told.getvalue() and "secret" not in told.getvalue()


def test_an_application_that_raises_is_logged_as_500(told: io.StringIO) -> None:
    def broken(*_: object) -> list[bytes]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        RequestLog(broken, "fill-mask")({"PATH_INFO": "/score", "REQUEST_METHOD": "POST"}, lambda *_: print)
    assert json.loads(told.getvalue())["status"] == 500


@pytest.mark.parametrize("path", ["/score", "/", "/nowhere"])
@pytest.mark.parametrize("given_id", [None, "", "two words", "a/path", "ö", 'a"quote', "a@b.c"])
def test_without_an_id_that_is_one_an_answer_gets_a_new_one(
    service: Service, told: io.StringIO, path: str, given_id: str | None
) -> None:
    headers = {} if given_id is None else {"x_request_id": given_id, "x_ms_request_id": given_id}
    answer = ask(service, {"input_data": []}, path, "GET" if path == "/" else "POST", **headers)
    assert UUID.fullmatch(answer.headers["x-request-id"])
    assert answer.headers.get("sent-on", answer.headers["x-request-id"]) == answer.headers["x-request-id"]
    for line in map(json.loads, told.getvalue().splitlines()):
        assert line["request_id"] == answer.headers["x-request-id"]
        assert "client_request_id" not in line


def test_an_id_that_is_too_long_is_left_to_the_server_and_not_logged(service: Service, told: io.StringIO) -> None:
    long = "x" * (LONGEST + 1)
    answer = ask(service, {"input_data": []}, x_request_id=long, x_ms_client_request_id=long)
    assert answer.headers["sent-on"] == long  # the server answers 431 to it
    assert long not in told.getvalue()


def test_a_callers_trace_is_in_the_line(service: Service, told: io.StringIO) -> None:
    for traceparent in (f"00-{TRACE}-00f067aa0ba902b7-01", "00-secret-01", f"00-{TRACE}-00f067aa0ba902b7-01\u00e9"):
        ask(service, {"input_data": []}, traceparent=traceparent)
    found = [json.loads(line).get("trace_id") for line in told.getvalue().splitlines()]
    assert found == [TRACE, None, None]


def test_spans_are_made_in_the_callers_trace() -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    seen = []

    def app(environ: object, start_response: object) -> list[bytes]:
        seen.append(trace.get_current_span().get_span_context().trace_id)
        return []

    for traceparent in (f"00-{TRACE}-00f067aa0ba902b7-01", "nonsense"):
        CallersTrace(app)({"HTTP_TRACEPARENT": traceparent}, lambda *_: print)
    assert seen == [int(TRACE, 16), 0]


@given(st.text())
def test_what_is_an_id_is_short_and_no_text(text: str) -> None:
    if is_id(text):
        assert 0 < len(text) <= LONGEST and text.isascii()
        assert not set(text) & set(" /\\\"'@<>\n\t")


def test_an_id_of_our_own_is_one() -> None:
    assert is_id(new_id())


@pytest.mark.parametrize("text", ["|4bf92f35.1_", "Root=1-67891233-abcdef012345678912345678", "a" * LONGEST])
def test_ids_as_they_are_in_use_are_ids(text: str) -> None:
    assert is_id(text)


@pytest.mark.parametrize("text", ["", "a" * (LONGEST + 1), "a b", "/home", "a\n", "\u0661"])
def test_what_is_no_id(text: str) -> None:
    assert not is_id(text)
    assert trace_id(text) is None


def test_a_line_takes_a_few_times_what_its_json_does(service: Service) -> None:
    # Some tens of microseconds in all: beside its JSON, a line has ids, a time and counts to find.
    handler, logger = (
        logging.StreamHandler(open("/dev/null", "w", encoding="utf-8")),
        logging.getLogger("serving.requests"),
    )
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    answer = service.answer('{"input_data": ["the [MASK] sat"]}')
    line = {"request_id": new_id(), "path": "/score", "status": 200, **answer.record()}

    def inner(environ: dict[str, object], start_response: Any) -> list[bytes]:  # noqa: ANN401
        environ[ANSWER] = answer
        start_response("200 OK", [("x-request-id", "mine")])
        return []

    def ask(app: Any) -> None:  # noqa: ANN401
        app({"PATH_INFO": "/score", "REQUEST_METHOD": "POST"}, lambda *_: print)

    logged = RequestLog(inner, "fill-mask")
    try:
        calls = (lambda: logger.info(json.dumps(line), extra=line), lambda: ask(inner), lambda: ask(logged))
        # The least of many short rounds, in turn: a busy machine leaves some of each alone.
        rounds = [[timeit.timeit(call, number=20) for call in calls] for _ in range(200)]
        plain, bare, whole = map(min, zip(*rounds, strict=True))
        # It is 3 times as much. The rest of the bound is for other machines.
        assert whole - bare < 8 * plain
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
        handler.stream.close()
