"""Answer request bodies with a model: where the errors of a request become an HTTP status and a body."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from serving import schema
from serving.errors import RequestError
from serving.fill_mask import FillMask
from serving.model_folder import chosen_folder
from serving.settings import Settings

logger = logging.getLogger("serving.service")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: the status, a body for JSON, headers."""

    status: HTTPStatus
    body: Any
    headers: dict[str, str]


class Service:
    """A model and its settings, answering."""

    def __init__(self, model: FillMask, settings: Settings) -> None:
        """Put them together; `start` finds them."""
        self.model = model
        self.settings = settings

    @classmethod
    def start(cls, root: Path) -> Self:
        """Load the model that the environment names, with `root` the folder that holds `model/`.

        Raises ModelFolderError or SettingsError, with what to do.
        """
        start = time.perf_counter()
        settings = Settings.from_env()
        model = FillMask.load(chosen_folder(root), settings=settings)
        if os.environ.get("WORKER_PRELOAD", "").lower() != "true":  # this process will serve, not fork those that do
            model.engine.warm_up()
        logger.info("serving %s; ready after %.1f s", model.name, time.perf_counter() - start)
        return cls(model, settings)

    def answer(self, body: str) -> Answer:
        """Answer a request, whatever it is; never raises."""
        headers = {"x-model-name": self.model.name}
        try:
            request = schema.parse(body, self.settings)
            parameters = request.parameters
            filled = self.model.fill(request.texts, request.top_k, parameters.targets, request.row_name)
            headers["x-windowed-rows"] = str(filled.windowed)
            return Answer(HTTPStatus.OK, request.answer(filled, self.settings), headers)
        except RequestError as exc:
            return Answer(exc.status, exc.body(), headers)
        except Exception:
            logger.exception("a request failed")
            error = {"code": "internal_error", "message": "the model server failed; its log says why"}
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": error}, headers)
