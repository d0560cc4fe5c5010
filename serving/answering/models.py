"""What the module of each task provides: its model, which answers requests, and the form of its answers.

A task's module is serving/answering/NAME.py, with NAME from the table of tasks (serving.tasks.TASKS). It calls the class of
its models MODEL. Only the module of the task that is served is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from serving.engine.engine import Engine
from serving.errors import BadRequest
from serving.model.checkpoint import read_task
from serving.model.model_folder import find_checkpoint
from serving.model.trust import check_folder
from serving.requests.rows import Json
from serving.requests.schema import Request, TaskInput
from serving.settings import Settings
from serving.tasks import TASKS, Task


@dataclass(frozen=True)
class AnswerForm:
    """The answer to one row, for the published description.

    name, properties: the object that answers are made of, such as `label`; each of its properties is always there.
    row: returns the JSON Schema of a row's answer, for a client that gets a full answer without asking, or for others.
    example: answers a request with the sample row, as the service would.
    counter: the header that counts the rows that are longer than the model.
    lists: whether a full answer is a list of rows even if the row was sent alone.
    """

    name: str
    properties: Mapping[str, Json]
    row: Callable[[AnswerForm, bool], dict[str, Json]]
    example: Callable[[Request], Json]
    counter: str
    lists: bool = False

    @property
    def one(self) -> dict[str, Json]:
        """The schema of the object, by reference."""
        return {"$ref": f"#/components/schemas/{self.name}"}

    @property
    def several(self) -> dict[str, Json]:
        """The schema of a list of the objects."""
        return {"type": "array", "minItems": 1, "items": self.one, "description": "Best first."}


class RequestAnswer(NamedTuple):
    """The answer to a request in its client's form, and the headers about it."""

    body: Json
    headers: dict[str, str]


class Model(Protocol):
    """A model of a task, ready to answer."""

    task: ClassVar[Task]
    input: ClassVar[TaskInput]
    form: ClassVar[AnswerForm]

    @property
    def engine(self) -> Engine[Any]:
        """The engine that runs the model."""

    @property
    def name(self) -> str:
        """The model's own name."""

    @classmethod
    def load(cls, folder: Path, precision: str | None = None, settings: Settings | None = None) -> Self:
        """Load a model folder, compiling the model if needed; raises ModelFolderError."""

    def answer_request(self, request: Request) -> RequestAnswer:
        """Answer all rows of a request; raises a RequestError, with the row at fault if there is one."""

    def refused_rows(self, request: Request) -> dict[int, BadRequest]:
        """Return the errors of the rows that cannot be answered, by their index."""


def model_class(task: Task) -> type[Model]:
    """Return the class of a task's models."""
    model: type[Model] = import_module(f"serving.answering.{TASKS[task].module}").MODEL
    return model


def load_model(folder: Path, settings: Settings) -> Model:
    """Load a model folder for its task, after checking that the folder may be served; raises ModelFolderError."""
    check_folder(folder, settings)
    task = read_task(find_checkpoint(folder).checkpoint)
    return model_class(task).load(folder, settings=settings)
