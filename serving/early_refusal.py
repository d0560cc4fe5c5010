"""Refuse a request before the server's own work on it, where the queue is full.

An answer by way of Microsoft's server takes 1.8 ms of the interpreter, a refusal too; by gunicorn alone it takes 0.9 ms
(benchmarks/README.md). At twice the load that can be sustained, what is refused would take so much of the interpreter
that neither answers nor refusals left in time. So the check is made first, as WSGI middleware. Such a refusal carries the
request's ids (serving.request_log), but not what else the server adds, as CORS headers.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from serving.request_ids import CLIENT_IDS, LONGEST, REQUEST_ID
from serving.request_log import ANSWER, header_key
from serving.service import Service


class EarlyRefusal:
    """WSGI middleware that asks the service first; whatever is not a score goes through."""

    def __init__(self, app: WSGIApplication, service: Service) -> None:
        """Take the application that answers what is not refused."""
        self._app = app
        self._service = service

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer 429, or hand the request on."""
        is_score = environ["PATH_INFO"] == "/score" and environ["REQUEST_METHOD"] == "POST"
        refusal = self._service.refusal() if is_score else None
        if refusal is None:
            if is_score and environ.get("wsgi.input_terminated"):
                # Read before the server does: a client that stalls or is gone is no error of the server's, which would
                # make it a 500 with a traceback. Out of here it ends the connection, see serving.stalled_clients.
                environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(-1))
            return self._app(environ, start_response)
        environ[ANSWER] = refusal
        body = json.dumps(refusal.body).encode()
        ids = ((name, environ.get(header_key(name), "")) for name in (REQUEST_ID, *CLIENT_IDS))
        headers = {name: value for name, value in ids if 0 < len(value) <= LONGEST}
        headers |= {**refusal.headers, "Content-Type": "application/json", "Content-Length": str(len(body))}
        start_response(f"{refusal.status.value} {refusal.status.phrase}", [*headers.items()])
        return [body]
