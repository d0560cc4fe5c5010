"""One line of JSON in the log for each request, and an id on each answer.

    {"time": "2026-11-22T03:43:43.127+00:00", "pid": 71, "request_id": "4bf92f35-…", "method": "POST", "path": "/score",
     "task": "fill-mask", "rows": 2, "tokens": 18, "queue_ms": 0.0, "tokenize_ms": 0.1, "compute_ms": 4.6,
     "total_ms": 6.2, "status": 200}

`client_request_id` and `trace_id` are there if the client sent them, `code` if the service refused the request
(serving.errors). The line has nothing else of the request: no text, no key, no path except the server's own. It replaces the
two lines of gunicorn and the inference server, which contain the query and the client's own words.

A request's id is the id that the client sent, if it is valid, else a new one. Ids go into logs and back to the client, and a
header can hold anything, so a valid id is short and has only letters, digits and ._:|=+~- (as UUIDs, the trace ids of the W3C
and .NET, and the ids of load balancers do). No path, address or sentence gets into a log as an id.
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
"""The key of the service's answer in the WSGI environment."""

REQUEST_ID = "x-request-id"
CLIENT_IDS = ("x-ms-client-request-id", "x-ms-request-id")
"""Azure's headers with the client's id of the request; the second is the older name."""

LONGEST = 100
"""The longest id; the inference server answers a longer id with 431."""

_ID = re.compile(rf"[A-Za-z0-9._:|=+~-]{{1,{LONGEST}}}")
_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

PATHS = {"/", "/score", "/swagger.json"}
METHODS = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"}
OTHER = "other"
"""The log's word for any other path or method, which the client made up."""

GONE = 499
"""The logged status of a client that stalled or left in the middle of its request and got no answer; nginx uses it too."""


class RequestLog:
    """The outermost WSGI middleware, which logs each request."""

    def __init__(self, app: WSGIApplication, task: Task) -> None:
        """Take the application and the task of its model."""
        self._app = app
        self._task = task

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass the request on with its ids, and log it when it is answered."""
        began = time.perf_counter()
        ids = identify(environ)
        status = 500  # gunicorn's answer if the application raises

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
            if (environ["PATH_INFO"], status) != ("/", 200):  # successful health probes are not logged
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
    """Return a request's ids for the log, and remove invalid ids from its headers.

    An id that is too long stays in its header, so that the server refuses it as documented, but is not logged.
    """
    sent = environ.get(header_key(REQUEST_ID), "")
    ids = {"request_id": sent if is_id(sent) else new_id()}
    if len(sent) <= LONGEST:
        environ[header_key(REQUEST_ID)] = ids["request_id"]
    for name in reversed(CLIENT_IDS):  # the first wins if both are there
        sent = environ.get(header_key(name), "")
        if is_id(sent):
            ids["client_request_id"] = sent
        elif 0 < len(sent) <= LONGEST:
            del environ[header_key(name)]
    trace = trace_id(environ.get("HTTP_TRACEPARENT", ""))
    return ids | {"trace_id": trace} if trace else ids


def header_key(header: str) -> str:
    """Return a header's key in the WSGI environment.

    >>> header_key("x-request-id")
    'HTTP_X_REQUEST_ID'
    """
    return f"HTTP_{header.upper().replace('-', '_')}"


def is_id(text: str) -> bool:
    """Return whether a header's value is a valid id.

    >>> is_id("4bf92f35-77b3"), is_id("my name is"), is_id("")
    (True, False, False)
    """
    return _ID.fullmatch(text) is not None


def new_id() -> str:
    """Return a new, unique id."""
    return str(uuid.uuid4())


def trace_id(traceparent: str) -> str | None:
    """Return the trace id of a W3C traceparent header; None if the header is invalid.

    >>> trace_id("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    '4bf92f3577b34da6a3ce929d0e0e4736'
    """
    match = _TRACE.fullmatch(traceparent)
    return match[1] if match else None
