"""The errors of the scoring runtime.

ModelFolderError        the model folder cannot be served; raised at start, never for a request
├── NotFiniteError      a weight is NaN or infinite
└── SignatureError      the folder is not as it was signed
SettingsError           an environment variable has a wrong value; raised at start
RequestError            a request cannot be answered; each class has one HTTP status
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
"""The body of an answer with status 500: an error of the server, not of the request."""


LONGEST_MESSAGE = 2000
"""Characters of a ModelFolderError's message: a name or number in a folder's files may be megabytes long."""


class ModelFolderError(Exception):
    """The model folder cannot be served; the message says why and what to do."""

    def __str__(self) -> str:
        text, half = super().__str__(), LONGEST_MESSAGE // 2 - 2
        return text if len(text) <= LONGEST_MESSAGE else f"{text[:half]} … {text[-half:]}"


class NotFiniteError(ModelFolderError):
    """A weight is NaN or infinite; `found` names the weight, and the message also says what to do."""

    def __init__(self, folder: Path, name: str) -> None:
        self.found = f"{folder}: expected weights that are numbers, found NaN or infinity in {name}"
        super().__init__(f"{self.found}; train or get the model again")


class SignatureError(ModelFolderError):
    """A model folder is not as it was signed, or was signed with another key; the message names the file."""


class SettingsError(ValueError):
    """An environment variable has a value that its setting cannot take."""


class RequestError(Exception):
    """A request that cannot be answered.

    `code` is stable, for programs, and one of the class's `codes`; the message is for people. `index` is the row at fault,
    if there is one. `headers` go with the answer.
    """

    status: HTTPStatus
    codes: tuple[str, ...]

    def __init__(self, code: str, message: str, index: int | None = None) -> None:
        """Keep the code, the message and the row."""
        super().__init__(message)
        self.code = code
        self.index = index
        self.headers: dict[str, str] = {}

    def body(self) -> dict[str, Any]:
        """Return the JSON body, such as {"error": {"code": "missing_mask", "message": "…", "index": 1}}."""
        error: dict[str, Any] = {"code": self.code, "message": str(self)}
        if self.index is not None:
            error["index"] = self.index
        return {"error": error}


class BadRequest(RequestError):
    """The request is wrong, or is not for this model."""

    status = HTTPStatus.BAD_REQUEST
    codes = get_args(BadCode)

    def __init__(self, code: BadCode, message: str, index: int | None = None) -> None:
        """Take one of the documented codes."""
        super().__init__(code, message, index)


class TooLarge(RequestError):
    """The request is over a limit of serving.settings.Settings."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    codes = get_args(LargeCode)

    def __init__(self, code: LargeCode, message: str) -> None:
        """Take one of the documented codes."""
        super().__init__(code, message)


class QueueFull(RequestError):
    """The queue is full; no work was done for the request."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    codes = ("queue_full",)

    def __init__(self, seconds: float) -> None:
        """Take the seconds until the queue has room; Retry-After is a whole number of them, at least 1."""
        super().__init__("queue_full", "the queue is full; send the request again after the seconds in Retry-After")
        self.headers = {"Retry-After": str(max(1, math.ceil(seconds)))}


class DeadlineExceeded(RequestError):
    """The answer would come too late; the rest of the work is not done."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    codes = ("deadline_exceeded",)

    def __init__(self) -> None:
        """Make the error; the message leaves out the deadline, which is a setting of the server."""
        super().__init__("deadline_exceeded", "the answer was not ready in time; send fewer or shorter rows, or later")
