"""What the sub-objects of the client have in common: they say of everything that Azure alone has that it is not here.

What the client refuses, and the errors of what is below it in the Azure SDK's own.

RuntimeError
└── ClientError
    ├── UnsupportedError     what Azure alone has: a sub-object, a method, an argument (an AttributeError too)
    └── NoWorkspaceError     no workspace is named, or nobody is signed in

Where MLClient raises an error, so does the client of this machine: ResourceNotFoundError, ResourceExistsError and
HttpResponseError of azure.core.exceptions, ValidationException and JobException of azure.ai.ml.exceptions.

Work that takes a while, as azure.core's own LROPoller: result(), wait(), done(), status().
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar

from azure.ai.ml.exceptions import JobException, ValidationErrorType, ValidationException
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.core.polling import LROPoller, PollingMethod

from asset.checks.pipeline.errors import JobError, RunError
from asset.local.endpoints.errors import ConflictError, EndpointError, InvalidEndpointError, NotFoundError

logger = logging.getLogger("asset.local.client")


class Operations:
    """A sub-object of the client: `named` is its name in MLClient, `state` the folder of local state."""

    named: ClassVar[str]

    def __init__(self, state: Path) -> None:
        self._state = state

    def __getattr__(self, name: str) -> NoReturn:
        raise UnsupportedError(
            f"{self.named}.{name} is Azure's alone; here there are "
            + ", ".join(one for one in dir(type(self)) if not one.startswith("_") and one != "named")
        )

    def _refuse(self, method: str, **given: Any) -> None:  # noqa: ANN401  whatever MLClient takes
        """Refuse arguments that have a value: None, False and an empty one are as good as none.

        Raises:
            UnsupportedError: one has; the message says which.
        """
        for name, value in given.items():
            if value:
                raise UnsupportedError(
                    f"expected {self.named}.{method} without {name}, which is Azure's alone, found {name}={value!r}; leave it "
                    "out, or use client(local=False)"
                )

    def _refuse_archived(self, method: str, view: object) -> None:
        """Refuse to list anything but what is active: nothing is archived here."""
        if str(getattr(view, "value", view)) not in ("ActiveOnly", "All"):
            self._refuse(method, list_view_type=view)


def one_of_version_and_label(version: str | None, label: str | None) -> None:
    """Refuse a label beside a version, and one that is not "latest", as MLClient does."""
    if version and label:
        raise invalid("Cannot specify both version and label.")
    if label not in (None, "latest"):
        raise invalid(f"expected the label latest, found {label}; name that, or a version")


class ClientError(RuntimeError):
    """Something that the client cannot do."""


class UnsupportedError(ClientError, AttributeError):
    """Something that Azure alone has."""


class NoWorkspaceError(ClientError):
    """No workspace is named, or nobody is signed in."""


def invalid(message: str) -> ValidationException:
    """Return the error for an entity or an argument that cannot be."""
    return ValidationException(message, message, error_type=ValidationErrorType.INVALID_VALUE)


def failed_job(message: str) -> JobException:
    """Return the error for a job that failed, or cannot be asked for something yet."""
    return JobException(message, message)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise the errors of endpoints and jobs as the SDK's own."""
    try:
        yield
    except NotFoundError as exc:
        raise ResourceNotFoundError(str(exc)) from exc
    except ConflictError as exc:
        raise ResourceExistsError(str(exc)) from exc
    except InvalidEndpointError as exc:
        raise invalid(str(exc)) from exc
    except EndpointError as exc:
        raise HttpResponseError(str(exc)) from exc
    except RunError as exc:
        raise failed_job(str(exc)) from exc
    except JobError as exc:
        raise invalid(str(exc)) from exc


T = TypeVar("T")
IN_PROGRESS, SUCCEEDED, FAILED = "InProgress", "Succeeded", "Failed"


class _Work(PollingMethod[Any]):
    """One function that is called in the poller's thread."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work, self._status, self._resource = work, IN_PROGRESS, None

    def initialize(self, client: object, initial_response: object, deserialization_callback: object) -> None:
        """Do nothing: what there is to know is known."""

    def run(self) -> None:
        """Call the function."""
        try:
            with translated():
                self._resource = self._work()
        except BaseException:
            self._status = FAILED
            raise
        self._status = SUCCEEDED

    def status(self) -> str:
        """Return "InProgress", "Succeeded" or "Failed"."""
        return self._status

    def finished(self) -> bool:
        """Return whether it has ended."""
        return self._status != IN_PROGRESS

    def resource(self) -> Any:  # noqa: ANN401
        """Return what the function returned."""
        return self._resource

    def get_continuation_token(self) -> str:
        """Return a text that another process can do nothing with: the work is this one's."""
        return "local"


def begin(work: Callable[[], T]) -> LROPoller[T]:
    """Call a function in a thread; return what waits for it."""
    return LROPoller(None, None, lambda response: response, _Work(work))
