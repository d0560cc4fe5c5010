"""What every answer of the service has to be, whatever the request was."""

from __future__ import annotations

import json
import logging
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

from serving.answering.models import load_model
from serving.answering.service import Answer, Service
from serving.errors import BadRequest, DeadlineExceeded, QueueFull, TooLarge
from serving.settings import Settings
from serving.tasks import Task
from tests.torture.attack import BrokenPromise, shown
from tests.torture.checkpoints import ARCHITECTURES, write_checkpoint

CODES = {one.status.value: one.codes for one in (BadRequest, TooLarge, QueueFull, DeadlineExceeded)}
"""The documented statuses that are no 200, and their codes."""

LONGEST_MESSAGE = 2000
"""Characters of an error's message: it names what was wrong, and does not give back what came."""

LATE_SECONDS = 2.0
"""How much later than its deadline an answer may be."""

Services = dict[Task, Service]


def services(folder: Path) -> Services:
    """Make a service of a tiny model for each task; the text classifier runs in ONNX Runtime, the others by themselves."""
    made: Services = {}
    for task in ARCHITECTURES:
        settings = Settings(threads=1, precision="fp32" if task == "text-classification" else "auto")
        made[task] = Service(load_model(write_checkpoint(folder / task, task), settings), settings)
    return made


def answered(service: Service, body: str) -> str:
    """Have a body answered, see that the answer is a documented one, and return its status and code."""
    with _Faults() as faults:
        start = time.perf_counter()
        answer = service.answer(body)
        seconds = time.perf_counter() - start
    if faults.seen:
        raise BrokenPromise(f"a fault was logged for {shown(body)}:\n{faults.seen[0]}")
    if seconds > service.settings.deadline_ms / 1000 + LATE_SECONDS:
        raise BrokenPromise(f"{seconds:.1f} s for {shown(body)}, status {answer.status.value}")
    return checked(answer, body)


def checked(answer: Answer, body: object) -> str:
    """See that an answer is documented: status, code, JSON, headers."""
    try:
        for name, value in answer.headers.items():
            if not value.isprintable() or len(f"{name}{value}".encode("latin-1")) > 1000:
                raise ValueError(f"the header {name} is {shown(value)}")
        text = json.dumps(answer.body, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise BrokenPromise(f"the answer cannot be sent, for {shown(body)}: {exc}") from exc
    if answer.status == HTTPStatus.OK:
        return "200"
    return error_code(answer.status.value, json.loads(text), body)


def error_code(status: int, content: Any, body: object) -> str:  # noqa: ANN401 - JSON
    """Return the status and code of an error's body; raises BrokenPromise where they are not documented."""
    error = content.get("error") if isinstance(content, dict) else None
    if not isinstance(error, dict) or error.get("code") not in CODES.get(status, ()):
        raise BrokenPromise(f"expected a documented error, found {status} {shown(content)} for {shown(body)}")
    if len(error["message"]) > LONGEST_MESSAGE:
        raise BrokenPromise(f"a message of {len(error['message'])} characters for {shown(body)}: {shown(error)}")
    return f"{status} {error['code']}"


class _Faults(logging.Handler):
    """Collects what the product logs as its own fault."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(logging.Formatter().format(record))

    def __enter__(self) -> _Faults:
        logging.getLogger("serving").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("serving").removeHandler(self)
