"""What init() sets up in Microsoft's inference server: its logs, and the middleware around its application.

The server imports the scoring script, so the server's own modules are loaded by then. If run() is called without the server,
they are not loaded, and nothing is set up.

The server sends a span for each request to Application Insights, with OpenTelemetry, but it ignores the W3C header
`traceparent`, by which a caller names the trace of the request. CallersTrace reads this header, so that the span and the
request's log line are found in the caller's trace.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from serving.answering.service import Service
from serving.http.early_refusal import EarlyRefusal
from serving.http.request_log import RequestLog

if TYPE_CHECKING:
    from flask import Flask


logger = logging.getLogger("serving.http.inference_server")

PACKAGE = "azureml_inference_server_http.server"
OF_A_REQUEST = {"_after_request", "handle_score"}
"""The server's functions that log a line for each request."""


def join_server_log() -> None:
    """Send our logs to the server's handlers, from INFO on; the server configures only loggers of its own.

    With AZUREML_LOG_LEVEL=DEBUG, a variable that the server itself does not use, messages of unforeseen errors are logged
    too.
    """
    level = logging.DEBUG if os.environ.get("AZUREML_LOG_LEVEL", "").upper() == "DEBUG" else logging.INFO
    insights = logging.getLogger("azmlinfsrv.print").handlers
    ours, requests = logging.getLogger("serving"), logging.getLogger("serving.requests")
    ours.setLevel(level)
    theirs = logging.getLogger("azmlinfsrv").handlers
    for handler in theirs:
        handler.setLevel(level)
    ours.handlers = [*theirs, *insights]
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(logging.Formatter("%(message)s"))
    requests.handlers = [lines, *insights]
    for our_logger in (ours, requests):
        our_logger.propagate = False  # the root logger would log the line again
    _keep_answers_from_insights()


def wrap_application(service: Service) -> None:
    """Wrap the application that the server is about to make: the service may refuse a request, and each is logged once."""
    routes = _module("routes")
    if routes is None:
        return

    def put(app: Flask) -> None:
        app.wsgi_app = RequestLog(EarlyRefusal(app.wsgi_app, service), service.model.task)  # type: ignore[method-assign]
        if _uses_insights():
            app.wsgi_app = CallersTrace(app.wsgi_app)  # type: ignore[method-assign]
        logging.getLogger("azmlinfsrv").addFilter(_is_of_no_request)
        logging.getLogger("gunicorn.access").addFilter(lambda record: False)
        logging.getLogger("gunicorn.error").addFilter(_without_the_request)
        _blame_the_client()

    # init() runs before the server registers its blueprint with the application, so the application comes with that.
    routes.main_blueprint.record_once(lambda state: put(state.app))


def _blame_the_client() -> None:
    """Answer 400, not gunicorn's 501, to an unknown transfer coding: it is the client's error, not the server's."""
    reading: Any = sys.modules.get("gunicorn.http.message")
    if hasattr(reading, "UnsupportedTransferCoding") and hasattr(reading, "InvalidHeader"):
        reading.UnsupportedTransferCoding = reading.InvalidHeader


def _keep_answers_from_insights() -> None:
    """Stop the server from sending each answer with the user's texts to Application Insights, its default."""
    module = _module("config")
    if module is None or not _uses_insights():
        return
    if "app_insights_log_response_enabled" not in module.config.model_fields_set:
        module.config.app_insights_log_response_enabled = False
    elif module.config.app_insights_log_response_enabled:
        logger.warning(
            "Application Insights gets every answer, with the texts in it, as APP_INSIGHTS_LOG_RESPONSE_ENABLED asks for"
        )


def _uses_insights() -> bool:
    module = _module("config")
    return module is not None and module.config.app_insights_enabled and module.config.app_insights_key is not None


def _module(name: str) -> ModuleType | None:
    return sys.modules.get(f"{PACKAGE}.{name}")


def _is_of_no_request(record: logging.LogRecord) -> bool:
    return record.levelno != logging.INFO or record.funcName not in OF_A_REQUEST


def _without_the_request(record: logging.LogRecord) -> bool:
    """Remove a request's bytes or address from gunicorn's messages."""
    message = str(record.msg)
    if message.startswith("Invalid request from ip="):
        record.msg, record.args = "Invalid request: it is not an HTTP request, or is over a limit of gunicorn", ()
    elif message.startswith("Error handling request"):
        record.msg, record.args = "Error handling request", ()
    return True


class CallersTrace:
    """WSGI middleware that continues the caller's trace; only with Application Insights, as OpenTelemetry is slow to import."""

    def __init__(self, app: WSGIApplication) -> None:
        """Take the application that makes spans."""
        from opentelemetry import context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._context = context
        self._propagator = TraceContextTextMapPropagator()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request within the caller's trace, if there is one."""
        carrier = {"traceparent": environ.get("HTTP_TRACEPARENT", "")}
        token = self._context.attach(self._propagator.extract(carrier))
        try:
            return self._app(environ, start_response)
        finally:
            self._context.detach(token)
