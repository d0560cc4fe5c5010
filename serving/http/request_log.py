"""One line of JSON in the log for each request, and an id on each answer.

    {"time": "2026-11-22T03:43:43.127+00:00", "pid": 71, "request_id": "4bf92f35-…", "method": "POST", "path": "/score",
     "task": "fill-mask", "rows": 2, "tokens": 18, "queue_ms": 0.0, "tokenize_ms": 0.1, "compute_ms": 4.6,
     "total_ms": 6.2, "status": 200}

`client_request_id` and `trace_id` are there where the client sent them, `code` where the service refused (serving.errors).
Nothing else of a request is: no text, no key, no path but those of the server. It takes the place of the two lines that
gunicorn and the inference server write for a request, which have the query and the client's own words.

What a request is called: the id that its client gave it where that is one, else one that is made here.

An id goes into logs and back to the client, and a header can hold anything: so an id is bounded in length and made of
letters, digits and ._:|=+~- (UUIDs, W3C's and .NET's trace ids, those of load balancers). No other text is one, so no
path, address or sentence gets into a log this way.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from serving.tasks import Task

if TYPE_CHECKING:
    from types import TracebackType

    from serving.answering.service import Answer


logger = logging.getLogger("serving.requests")

ANSWER = "serving.answer"
"""Where whoever answers leaves the service's answer, in the WSGI environment."""

PATHS = {"/", "/score", "/swagger.json"}
METHODS = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"}
OTHER = "other"
"""What stands in the log for any other path or method, which the client made up."""

GONE = 499
"""What is logged of a client that stalled, or left, in the middle of its request, and so got no answer; nginx's number."""


class RequestLog:
    """WSGI middleware, the outermost."""

    def __init__(self, app: WSGIApplication, task: Task) -> None:
        """Take the application that answers, and the task of its model."""
        self._app = app
        self._task = task

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Hand the request on with its ids, and log it when it is answered."""
        began = time.perf_counter()
        ids = identify(environ)
        status = 500  # an application that raises is answered so by gunicorn

        def start(
            line: str,
            headers: list[tuple[str, str]],
            error: tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None = None,
        ) -> Any:  # noqa: ANN401
            nonlocal status
            status = int(line[:3])
            if not any(name.lower() == REQUEST_ID for name, _ in headers):
                headers = [*headers, (REQUEST_ID, ids["request_id"])]
            return start_response(line, headers, error)

        try:
            return self._app(environ, start)
        except OSError:
            status = GONE
            raise
        finally:
            if (environ["PATH_INFO"], status) != ("/", 200):  # a healthy server's probes say nothing
                self._write(environ, ids, status, time.perf_counter() - began)

    def _write(self, environ: WSGIEnvironment, ids: dict[str, str], status: int, seconds: float) -> None:
        answer: Answer | None = environ.get(ANSWER)
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        fields = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "pid": os.getpid(),
            **ids,
            "method": method if method in METHODS else OTHER,
            "path": path if path in PATHS else OTHER,
            "task": self._task,
            **(answer.record() if answer is not None else {}),
            "total_ms": round(seconds * 1000, 1),
            "status": status,
        }
        logger.info(json.dumps(fields), extra=fields)


def identify(environ: WSGIEnvironment) -> dict[str, str]:
    """Return a request's ids for the log, and leave in its headers none that is not one.

    One that is too long stays, for the server to refuse as it documents, but is not the request's id.
    """
    given = environ.get(header_key(REQUEST_ID), "")
    ids = {"request_id": given if is_id(given) else new_id()}
    if len(given) <= LONGEST:
        environ[header_key(REQUEST_ID)] = ids["request_id"]
    for name in reversed(CLIENT_IDS):  # the first, where there are both
        given = environ.get(header_key(name), "")
        if is_id(given):
            ids["client_request_id"] = given
        elif 0 < len(given) <= LONGEST:
            del environ[header_key(name)]
    trace = trace_id(environ.get("HTTP_TRACEPARENT", ""))
    return ids | {"trace_id": trace} if trace else ids


def header_key(header: str) -> str:
    """Return where the WSGI environment has a header.

    >>> header_key("x-request-id")
    'HTTP_X_REQUEST_ID'
    """
    return f"HTTP_{header.upper().replace('-', '_')}"


REQUEST_ID = "x-request-id"
CLIENT_IDS = ("x-ms-client-request-id", "x-ms-request-id")
"""Azure's names for what the client calls the request; the second is the older one."""

LONGEST = 100
"""Letters of an id; the inference server answers a longer one with 431."""

_ID = re.compile(rf"[A-Za-z0-9._:|=+~-]{{1,{LONGEST}}}")
_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def is_id(text: str) -> bool:
    """Tell whether a header's value is an id.

    >>> is_id("4bf92f35-77b3"), is_id("my name is"), is_id("")
    (True, False, False)
    """
    return _ID.fullmatch(text) is not None


def new_id() -> str:
    """Return an id that nothing else has."""
    return str(uuid.uuid4())


def trace_id(traceparent: str) -> str | None:
    """Return the trace that a W3C traceparent header names; None where it is none.

    >>> trace_id("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    '4bf92f3577b34da6a3ce929d0e0e4736'
    """
    found = _TRACE.fullmatch(traceparent)
    return found[1] if found else None
