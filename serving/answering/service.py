"""The service: answers request bodies with a model, and turns each error of a request into an HTTP status and a body."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from serving.answering.models import Model, load_model
from serving.errors import INTERNAL_ERROR, QueueFull, RequestError
from serving.model.model_folder import LONGEST_NAME, chosen_folder
from serving.requests import schema
from serving.requests.call import Call, calling
from serving.settings import Settings

logger = logging.getLogger("serving.answering.service")

MODEL_SHARE = 0.9
"""The share of the deadline that the model may use. The client also counts the way to the server and back, a wait for a
thread and the socket, which take the rest under load."""

PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
"""Characters that stand in a header unchanged; all others are percent-encoded in UTF-8."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: the status, a body for JSON, the headers, and the call with its times."""

    status: HTTPStatus
    body: Any
    headers: dict[str, str]
    call: Call = field(default_factory=Call)

    def record(self) -> dict[str, Any]:
        """Return the fields for the log: counts, times and an error's code, and nothing that the user wrote."""
        error = {} if self.status == HTTPStatus.OK else {"code": self.body["error"]["code"]}
        return {**self.call.record(), **error}


class Service:
    """A model with its settings, which answers requests."""

    def __init__(self, model: Model, settings: Settings) -> None:
        """Take the model and the settings; `start` finds them."""
        self.model = model
        self.settings = settings
        # A header is ASCII only, but a folder's name may have any characters.
        self._shown_name = quote(model.name, safe=PRINTABLE, errors="surrogateescape")[:LONGEST_NAME]

    @classmethod
    def start(cls, root: Path) -> Self:
        """Load the model that the environment names; `root` is the folder with `model/` in it.

        Raises ModelFolderError or SettingsError.
        """
        start = time.perf_counter()
        settings = Settings.from_env()
        warn_of_few_threads(settings.max_queue)
        model = load_model(chosen_folder(root), settings)
        if os.environ.get("WORKER_PRELOAD", "").lower() != "true":  # this process serves, and does not fork
            model.engine.warm_up()
        logger.info("serving %s; ready after %.1f s", model.name, time.perf_counter() - start)
        return cls(model, settings)

    def answer(self, body: str) -> Answer:
        """Answer a request's body; never raises."""
        with calling(MODEL_SHARE * self.settings.deadline_ms / 1000) as call:
            answer = self._answer_or_error(body, call)
            answer.headers.update({"x-model-name": self._shown_name, **call.headers()})
        return answer

    def refusal(self) -> Answer | None:
        """Return the answer that refuses a request now; None if the queue has a place for it."""
        try:
            with self.model.engine.admitted():
                return None
        except QueueFull as exc:
            return self._refused(exc)

    def refusal_of_body(self, size: int, whole: bool) -> Answer | None:
        """Return the answer that refuses a body of `size` bytes, or more if not `whole`; None if it is small enough."""
        try:
            schema.check_body(size, self.settings, whole)
        except RequestError as exc:
            return self._refused(exc)
        return None

    def _refused(self, error: RequestError) -> Answer:
        headers = {"x-model-name": self._shown_name, **Call().headers(), **error.headers}
        return Answer(error.status, error.body(), headers)

    def _answer_or_error(self, body: str, call: Call) -> Answer:
        try:
            with self.model.engine.admitted():
                request = schema.parse(body, self.settings, self.model.input)
                call.rows = len(request.rows)
                answer = self.model.answer_request(request)
            return Answer(HTTPStatus.OK, answer.body, answer.headers, call)
        except RequestError as exc:
            return Answer(exc.status, exc.body(), exc.headers, call)
        except Exception as exc:
            # The exception's message may quote the user's text.
            where = "".join(traceback.format_tb(exc.__traceback__))
            logger.error(
                "a request failed with %s; set AZUREML_LOG_LEVEL=DEBUG to log its message\n%s",
                type(exc).__name__,
                where,
            )
            logger.debug("the request failed", exc_info=True)
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_ERROR, {}, call)


def warn_of_few_threads(max_queue: int, environ: Mapping[str, str] = os.environ) -> None:
    """Log a warning if gunicorn runs this process with fewer request threads than the queue can hold.

    A request without a thread waits in gunicorn, where batching, status 429 and the deadline do not reach it. The server's
    own default is one thread, so that requests never share a batch.
    """
    threads = _threads(environ.get("GUNICORN_CMD_ARGS", ""))
    if environ.get("SERVER_SOFTWARE", "").startswith("gunicorn") and threads <= max_queue:
        logger.warning(
            "expected more request threads than the %d requests of BERT_SERVING_MAX_QUEUE, found %d: other requests wait "
            "without batching, status 429 or a deadline; set GUNICORN_CMD_ARGS='--threads %d'",
            max_queue,
            threads,
            2 * max_queue,
        )


def _threads(arguments: str) -> int:
    """Return the number of threads in GUNICORN_CMD_ARGS, such as 256 for "--threads 256"; gunicorn's default is 1."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--threads", type=int, default=1)
    return int(parser.parse_known_args(shlex.split(arguments))[0].threads)
