"""Refuse a request before the server works on it, if the queue is full or the body is too large.

An answer through Microsoft's server takes 1.8 ms of the interpreter, also for a refusal; through gunicorn alone it takes
0.9 ms (benchmarks/README.md). At twice the load that can be sustained, refusals through the server would take so much time
that neither answers nor refusals were sent in time. The server would also read a body of any size into memory before the
service sees it. So WSGI middleware checks first. Such a refusal has the request's ids (serving.http.request_log), but not
the server's other headers, such as CORS.
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
"""How many times max_body_bytes are read and dropped of a larger body, as a client reads no answer before it has sent the
whole body. The connection of a client that sends still more is closed."""


class EarlyRefusal:
    """WSGI middleware that asks the service if a score request is refused; other requests pass."""

    def __init__(self, app: WSGIApplication, service: Service) -> None:
        """Take the application for all other requests, and the service."""
        self._app = app
        self._service = service

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer 429 or 413, or pass the request on."""
        path = re.sub("/{2,}", "/", environ["PATH_INFO"])  # as the server reads it
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
        """Read the body, and refuse it if it is too large.

        If the client stalls or leaves meanwhile, the error ends the connection (serving.http.stalled_clients); inside the
        server it would become a 500 with a traceback.
        """
        if not environ.get("wsgi.input_terminated"):  # not gunicorn's body, whose end reading would not find
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
