"""Answer request bodies with a model: where the errors of a request become an HTTP status and a body.

How many requests the server hands to a process at the same time.
"""

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

from serving.answering import answers
from serving.answering.fill_mask import FillMask
from serving.answering.question_answering import Question, QuestionAnswering
from serving.answering.text_classification import Pair, TextClassification
from serving.errors import INTERNAL_ERROR, BadRequest, QueueFull, RequestError
from serving.model.checkpoint import read_task
from serving.model.model_folder import LONGEST_NAME, chosen_folder, find_checkpoint
from serving.model.trust import check_folder
from serving.requests import schema
from serving.requests.call import Call, calling
from serving.settings import Settings


def warn_of_few_threads(max_queue: int, environ: Mapping[str, str] = os.environ) -> None:
    """Log a warning where gunicorn runs this process with fewer request threads than the queue takes.

    What a request thread has not taken waits in gunicorn, where neither batches, 429 nor the deadline reach it; and the
    server's own default is one thread, with which requests never meet.
    """
    threads = _threads(environ.get("GUNICORN_CMD_ARGS", ""))
    if environ.get("SERVER_SOFTWARE", "").startswith("gunicorn") and threads <= max_queue:
        logger.warning(
            "expected more request threads than the %d requests of BERT_SERVING_MAX_QUEUE, found %d: the rest wait where "
            "neither batching, 429 nor the deadline reaches them; set GUNICORN_CMD_ARGS='--threads %d'",
            max_queue,
            threads,
            2 * max_queue,
        )


def _threads(arguments: str) -> int:
    """Return what gunicorn reads as its number of threads from GUNICORN_CMD_ARGS, e.g. "--threads 256" -> 256."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--threads", type=int, default=1)
    return int(parser.parse_known_args(shlex.split(arguments))[0].threads)


logger = logging.getLogger("serving.answering.service")

MODEL_SHARE = 0.9
"""How much of the deadline the model has. Under load the way in and out, a thread and the socket, takes the rest, and the
client counts that too."""


PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
"""What stands in a header as it is; of other characters, their percent-encoded UTF-8."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: the status, a body for JSON, headers; and the call, which says what it took."""

    status: HTTPStatus
    body: Any
    headers: dict[str, str]
    call: Call = field(default_factory=Call)

    def record(self) -> dict[str, Any]:
        """Return what a log may tell of it, nothing of the user's: counts and times, and the code of an error."""
        error = {} if self.status == HTTPStatus.OK else {"code": self.body["error"]["code"]}
        return {**self.call.record(), **error}


Model = FillMask | TextClassification | QuestionAnswering


def load_model(folder: Path, settings: Settings) -> Model:
    """Load a model folder for the task that it says, once it is found to be one to trust; raises ModelFolderError."""
    check_folder(folder, settings)
    kinds: tuple[type[Model], ...] = (FillMask, TextClassification, QuestionAnswering)
    task = read_task(find_checkpoint(folder).checkpoint)
    return next(kind for kind in kinds if kind.task == task).load(folder, settings=settings)


class Service:
    """A model and its settings, answering."""

    def __init__(self, model: Model, settings: Settings) -> None:
        """Put them together; `start` finds them."""
        self.model = model
        self.settings = settings
        # A header has ASCII alone; a folder may be called anything.
        self._shown_name = quote(model.name, safe=PRINTABLE, errors="surrogateescape")[:LONGEST_NAME]

    @classmethod
    def start(cls, root: Path) -> Self:
        """Load the model that the environment names, with `root` the folder that holds `model/`.

        Raises ModelFolderError or SettingsError, with what to do.
        """
        start = time.perf_counter()
        settings = Settings.from_env()
        warn_of_few_threads(settings.max_queue)
        model = load_model(chosen_folder(root), settings)
        if os.environ.get("WORKER_PRELOAD", "").lower() != "true":  # this process will serve, not fork those that do
            model.engine.warm_up()
        logger.info("serving %s; ready after %.1f s", model.name, time.perf_counter() - start)
        return cls(model, settings)

    def answer(self, body: str) -> Answer:
        """Answer a request, whatever it is; never raises."""
        with calling(MODEL_SHARE * self.settings.deadline_ms / 1000) as call:
            answer = self._answer_or_error(body, call)
            answer.headers.update({"x-model-name": self._shown_name, **call.headers()})
        return answer

    def refusal(self) -> Answer | None:
        """Return what a request that comes now is refused with; None where there is a place for it."""
        try:
            with self.model.engine.admitted():
                return None
        except QueueFull as exc:
            return self._refused(exc)

    def refusal_of_body(self, size: int, whole: bool) -> Answer | None:
        """Return what a body of so many bytes, or more, is refused with; None where it may be as large."""
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
                request = schema.parse(body, self.settings, self.model.task)
                call.rows = len(request.rows)
                answer, counted = self.answer_rows(request)
            return Answer(HTTPStatus.OK, answer, counted, call)
        except RequestError as exc:
            return Answer(exc.status, exc.body(), exc.headers, call)
        except Exception as exc:
            # An exception's own words may quote what was being worked on, which is the user's.
            where = "".join(traceback.format_tb(exc.__traceback__))
            logger.error(
                "a request failed with %s; AZUREML_LOG_LEVEL=DEBUG shows what it said\n%s", type(exc).__name__, where
            )
            logger.debug("it said", exc_info=True)
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_ERROR, {}, call)

    def answer_rows(self, request: schema.Request) -> tuple[Any, dict[str, str]]:
        """Return the answer in the client's shape, and the header that counts texts longer than the model.

        Raises a RequestError; one that a row is at fault for names it, and `refusals` has them all.
        """
        model, asked = self.model, request.parameters
        if isinstance(model, FillMask):
            wanted = answers.candidates_wanted(request)
            filled = model.fill(request.texts, wanted, asked.get("targets"), request.row_name)
            return answers.filled_answer(request, filled, self.settings), {"x-windowed-rows": str(filled.windowed)}
        if isinstance(model, TextClassification):
            pairs = [Pair(*row) for row in request.rows]
            labels = model.classify(pairs, answers.labels_wanted(request), asked.get("function_to_apply"))
            return answers.classified_answer(request, labels), {"x-truncated-rows": str(labels.truncated)}
        questions = [Question(*row) for row in request.rows]
        found = model.answer(questions, answers.options(request), request.row_name)
        return answers.found_answer(request, found), {"x-windowed-rows": str(found.windowed)}

    def refusals(self, request: schema.Request) -> dict[int, BadRequest]:
        """Return why `answer_rows` would refuse each row by itself, by its index; those that are not in it, it answers."""
        if isinstance(self.model, FillMask):
            return self.model.refusals(request.texts, request.row_name)
        if isinstance(self.model, TextClassification):
            return {}
        return self.model.refusals([Question(*row) for row in request.rows], answers.options(request), request.row_name)
