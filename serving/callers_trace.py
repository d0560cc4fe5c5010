"""Put what Application Insights is told of a request into the trace of its caller.

The inference server makes a span for each request, with OpenTelemetry, and sends it there; it does not look at the W3C
header `traceparent`, with which a caller says what trace the request is a part of. Here it is read, so that the span, and
the line of the request's log that goes with it, are found in the caller's trace.
"""

from __future__ import annotations

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


class CallersTrace:
    """WSGI middleware; only where Application Insights is used, as OpenTelemetry takes time to import."""

    def __init__(self, app: WSGIApplication) -> None:
        """Take the application in which spans are made."""
        from opentelemetry import context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._context = context
        self._propagator = TraceContextTextMapPropagator()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer within the caller's trace, where it has one."""
        carrier = {"traceparent": environ.get("HTTP_TRACEPARENT", "")}
        token = self._context.attach(self._propagator.extract(carrier))
        try:
            return self._app(environ, start_response)
        finally:
            self._context.detach(token)
