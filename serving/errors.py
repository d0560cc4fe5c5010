"""The errors of the scoring runtime.

ModelFolderError        the model folder cannot be served; raised while starting, never for a request
RequestError            a request cannot be answered; one HTTP status a class
├── BadRequest      400
└── TooLarge        413
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


class ModelFolderError(Exception):
    """The model folder cannot be served; the message says what was expected, what was found and what to do."""


class RequestError(Exception):
    """A request that cannot be answered, as its client is told.

    `code` is stable and for programs, the message is for people, `index` is the row at fault where there is one.
    """

    status: HTTPStatus

    def __init__(self, code: str, message: str, index: int | None = None) -> None:
        """Keep what the client will read."""
        super().__init__(message)
        self.code = code
        self.index = index

    def body(self) -> dict[str, Any]:
        """Return the JSON body, e.g. {"error": {"code": "missing_mask", "message": "…", "index": 1}}."""
        error: dict[str, Any] = {"code": self.code, "message": str(self)}
        if self.index is not None:
            error["index"] = self.index
        return {"error": error}


class BadRequest(RequestError):
    """The request is not one that this model answers."""

    status = HTTPStatus.BAD_REQUEST


class TooLarge(RequestError):
    """The request is over a limit; the limits are `serving.settings.Settings`."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
