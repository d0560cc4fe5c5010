"""Work that takes a while, as azure.core's own LROPoller: result(), wait(), done(), status()."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from azure.core.polling import LROPoller, PollingMethod

from registry.client.errors import translated

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
