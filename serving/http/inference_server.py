"""What is set up in Microsoft's inference server, from init(): its log, and what stands before its application.

The server imports the scoring script, so its own modules are there by then; where run() is called without it, they are
not, and nothing is done.

Put what Application Insights is told of a request into the trace of its caller.

The inference server makes a span for each request, with OpenTelemetry, and sends it there; it does not look at the W3C
header `traceparent`, with which a caller says what trace the request is a part of. Here it is read, so that the span, and
the line of the request's log that goes with it, are found in the caller's trace.
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


def join_its_log() -> None:
    """Log where the server does, from INFO on: it configures its own logger only, and sends Application Insights another's.

    AZUREML_LOG_LEVEL=DEBUG, which the server knows and leaves unused, shows what an unforeseen failure said, too.
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
    for logger_of_it in (ours, requests):
        logger_of_it.propagate = False  # the root logger would say it again
    _keep_answers_from_insights()


def stand_before_it(service: Service) -> None:
    """Have the application that the server is about to make ask the service first, and log each request once."""
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

    # init() runs while the server's blueprint is registered with the application, which is the moment to ask for it.
    routes.main_blueprint.record_once(lambda state: put(state.app))


def _blame_the_client() -> None:
    """Answer 400 to a transfer coding that gunicorn does not know, where it has 501: no client makes a fault of the server's."""
    reading: Any = sys.modules.get("gunicorn.http.message")
    if hasattr(reading, "UnsupportedTransferCoding") and hasattr(reading, "InvalidHeader"):
        reading.UnsupportedTransferCoding = reading.InvalidHeader


def _keep_answers_from_insights() -> None:
    """Turn off what is on by default with Application Insights: it gets each answer, with the user's texts."""
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
    """Take out of gunicorn's own words what it quotes: bytes that are no HTTP request, or the address of one it failed on."""
    told = str(record.msg)
    if told.startswith("Invalid request from ip="):
        record.msg, record.args = "Invalid request: it is no HTTP request, or is over a limit of gunicorn's", ()
    elif told.startswith("Error handling request"):
        record.msg, record.args = "Error handling request", ()
    return True


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
