"""The errors of the scoring runtime.

ModelFolderError        the model folder cannot be served; raised while starting, never for a request
RequestError            a request cannot be answered; one HTTP status a class
├── BadRequest          400
├── TooLarge            413
├── QueueFull           429, with Retry-After
└── DeadlineExceeded    504
"""

from __future__ import annotations

import math
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, get_args

BadCode = Literal[
    "invalid_json",
    "unknown_request",
    "ambiguous_request",
    "unknown_key",
    "invalid_rows",
    "not_text",
    "wrong_task",
    "missing_mask",
    "too_many_masks",
    "empty_question",
    "empty_context",
    "question_too_long",
    "unknown_parameter",
    "invalid_parameter",
    "unknown_target",
]
LargeCode = Literal["body_too_large", "too_many_rows", "too_much_work", "answer_too_large"]
INTERNAL_ERROR = {"error": {"code": "internal_error", "message": "the model server failed; its log says why"}}
"""The body of status 500: a fault of ours, which is no RequestError."""


LONGEST_MESSAGE = 2000
"""Characters of a ModelFolderError: what a folder has in a name's or number's place may be megabytes of it."""


class ModelFolderError(Exception):
    """The model folder cannot be served; the message says what was expected, what was found and what to do."""

    def __str__(self) -> str:
        text, half = super().__str__(), LONGEST_MESSAGE // 2 - 2
        return text if len(text) <= LONGEST_MESSAGE else f"{text[:half]} … {text[-half:]}"


class NotFiniteError(ModelFolderError):
    """A weight is NaN or infinite; `found` says which, without what to do."""

    def __init__(self, folder: Path, name: str) -> None:
        self.found = f"{folder}: expected weights that are numbers, found NaN or infinity in {name}"
        super().__init__(f"{self.found}; train the model, or get it, anew")


class RequestError(Exception):
    """A request that cannot be answered, as its client is told.

    `code` is stable and for programs, and one of the class's `codes`; the message is for people, `index` is the row at
    fault where there is one. `headers` go with the answer.
    """

    status: HTTPStatus
    codes: tuple[str, ...]

    def __init__(self, code: str, message: str, index: int | None = None) -> None:
        """Keep what the client will read."""
        super().__init__(message)
        self.code = code
        self.index = index
        self.headers: dict[str, str] = {}

    def body(self) -> dict[str, Any]:
        """Return the JSON body, e.g. {"error": {"code": "missing_mask", "message": "…", "index": 1}}."""
        error: dict[str, Any] = {"code": self.code, "message": str(self)}
        if self.index is not None:
            error["index"] = self.index
        return {"error": error}


class BadRequest(RequestError):
    """The request is not one that this model answers."""

    status = HTTPStatus.BAD_REQUEST
    codes = get_args(BadCode)

    def __init__(self, code: BadCode, message: str, index: int | None = None) -> None:
        """Take a code that is documented."""
        super().__init__(code, message, index)


class TooLarge(RequestError):
    """The request is over a limit; the limits are `serving.settings.Settings`."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    codes = get_args(LargeCode)

    def __init__(self, code: LargeCode, message: str) -> None:
        """Take a code that is documented."""
        super().__init__(code, message)


class QueueFull(RequestError):
    """As many requests as may wait are waiting; nothing was done for this one."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    codes = ("queue_full",)

    def __init__(self, seconds: float) -> None:
        """Take how long those that wait will need; the client is told whole seconds, at least one."""
        super().__init__("queue_full", "the queue is full; send the request again after the seconds in Retry-After")
        self.headers = {"Retry-After": str(max(1, math.ceil(seconds)))}


class DeadlineExceeded(RequestError):
    """The answer would come too late; what was not computed yet is left."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    codes = ("deadline_exceeded",)

    def __init__(self) -> None:
        """Say so; how long is a setting of the server's, which its client need not know."""
        super().__init__("deadline_exceeded", "the answer was not ready in time; send fewer or shorter rows, or later")
