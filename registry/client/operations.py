"""What the sub-objects of the client have in common: they say of everything that Azure alone has that it is not here."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from registry.client.errors import UnsupportedError, invalid

logger = logging.getLogger("registry.client")


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
