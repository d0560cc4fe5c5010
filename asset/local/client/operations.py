"""The base of the client's sub-objects, and the poller that its `begin_…` methods return."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar

from azure.core.polling import LROPoller, PollingMethod

from asset.local.client.errors import UnsupportedError, invalid, translated

logger = logging.getLogger("asset.local.client")


class Operations:
    """A sub-object of the client. It refuses what only Azure supports."""

    named: ClassVar[str]
    """The sub-object's name in MLClient."""

    def __init__(self, state: Path) -> None:
        """Use the folder of local state."""
        self._state = state

    def __getattr__(self, name: str) -> NoReturn:
        methods = [method for method in dir(type(self)) if not method.startswith("_") and method != "named"]
        raise UnsupportedError(f"only Azure supports {self.named}.{name}; this machine supports {', '.join(methods)}")

    def _refuse(self, method: str, **arguments: Any) -> None:  # noqa: ANN401  whatever MLClient takes
        """Refuse arguments that only Azure supports, if they have a value: None, False and empty values are ignored.

        Raises:
            UnsupportedError: an argument has a value; the message names it.
        """
        for name, value in arguments.items():
            if value:
                raise UnsupportedError(
                    f"{self.named}.{method} takes no {name} on this machine, and {name}={value!r} was passed; leave it out, or "
                    "use client(local=False)"
                )

    def _refuse_archived(self, method: str, view: object) -> None:
        """Refuse to list archived assets: nothing is archived on this machine."""
        if str(getattr(view, "value", view)) not in ("ActiveOnly", "All"):
            self._refuse(method, list_view_type=view)


def check_version_or_label(version: str | None, label: str | None) -> None:
    """Refuse a version together with a label, and every label but "latest", as MLClient does."""
    if version and label:
        raise invalid("Cannot specify both version and label.")
    if label not in (None, "latest"):
        raise invalid(f"there is no label {label} on this machine; use the label latest, or a version")


T = TypeVar("T")
IN_PROGRESS, SUCCEEDED, FAILED = "InProgress", "Succeeded", "Failed"


def begin(work: Callable[[], T]) -> LROPoller[T]:
    """Call a function in a thread and return a poller: result(), wait(), done(), status()."""
    return LROPoller(None, None, lambda response: response, _Work(work))


class _Work(PollingMethod[Any]):
    """A function that the poller calls in its thread."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work, self._status, self._resource = work, IN_PROGRESS, None

    def initialize(self, client: object, initial_response: object, deserialization_callback: object) -> None:
        """Do nothing: there is no response of a service to read."""

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
        """Return whether the function has ended."""
        return self._status != IN_PROGRESS

    def resource(self) -> Any:  # noqa: ANN401
        """Return what the function returned."""
        return self._resource

    def get_continuation_token(self) -> str:
        """Return a placeholder: no other process can go on with the work."""
        return "local"
