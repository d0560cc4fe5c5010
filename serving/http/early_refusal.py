"""Refuse a request before the server's own work on it, where the queue is full or its body is too large.

An answer by way of Microsoft's server takes 1.8 ms of the interpreter, a refusal too; by gunicorn alone it takes 0.9 ms
(benchmarks/README.md). At twice the load that can be sustained, what is refused would take so much of the interpreter
that neither answers nor refusals left in time. So the check is made first, as WSGI middleware. And the server would hold the
whole of a body in memory, whatever its size, before anybody could look at it. Such a refusal carries the request's ids
(serving.http.request_log), but not what else the server adds, as CORS headers.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from serving.answering.service import Answer, Service
from serving.http.request_log import ANSWER, CLIENT_IDS, LONGEST, REQUEST_ID, header_key

DRAINED = 16
"""Times the bytes that a body may have, which are read of a larger one and dropped: a client reads no answer before it has
sent all. One that sends still more has its connection closed."""


class EarlyRefusal:
    """WSGI middleware that asks the service first; whatever is not a score goes through."""

    def __init__(self, app: WSGIApplication, service: Service) -> None:
        """Take the application that answers what is not refused."""
        self._app = app
        self._service = service

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer 429 or 413, or hand the request on."""
        path = re.sub("/{2,}", "/", environ["PATH_INFO"])  # as the server takes it
        is_score = path == "/score" and environ["REQUEST_METHOD"] == "POST"
        refusal = (self._service.refusal() if is_score else None) or self._refusal_of_body(environ)
        if refusal is None:
            return self._app(environ, start_response)
        environ[ANSWER] = refusal
        body = json.dumps(refusal.body).encode()
        ids = ((name, environ.get(header_key(name), "")) for name in (REQUEST_ID, *CLIENT_IDS))
        headers = {name: value for name, value in ids if 0 < len(value) <= LONGEST}
        headers |= {**refusal.headers, "Content-Type": "application/json", "Content-Length": str(len(body))}
        start_response(f"{refusal.status.value} {refusal.status.phrase}", [*headers.items()])
        return [body]

    def _refusal_of_body(self, environ: WSGIEnvironment) -> Answer | None:
        """Read the body, and refuse one that is too large.

        A client that stalls or is gone meanwhile is no error of the server's, which would make it a 500 with a traceback;
        out of here it ends the connection, see serving.http.stalled_clients.
        """
        if not environ.get("wsgi.input_terminated"):  # not gunicorn's: its end is not to be found by reading
            return None
        stream, most = environ["wsgi.input"], self._service.settings.max_body_bytes
        body = stream.read(most + 1)
        if len(body) <= most:
            environ["wsgi.input"] = io.BytesIO(body)
            return None
        size, more = len(body), body
        while more and size < DRAINED * most:
            more = stream.read(1 << 16)
            size += len(more)
        return self._service.refusal_of_body(size, whole=not more)
