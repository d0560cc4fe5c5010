"""What a step's input or output is bound to: ${{parent.inputs.x}}, ${{parent.jobs.s.outputs.y}}, ${{parent.outputs.z}}."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

BINDING = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
TARGET = re.compile(r"parent\.(?:jobs\.(?P<step>[\w-]+)\.)?(?P<kind>inputs|outputs)\.(?P<name>[\w-]+)")


@dataclass(frozen=True)
class Binding:
    """One reference: to an input or output (`kind`) of a step, or of the job where `step` is None."""

    text: str
    kind: str | None
    name: str
    step: str | None


def bound(value: Any) -> list[Binding]:  # noqa: ANN401  what YAML holds
    """Return the references in a step's input: in a text, or in the path of {type: …, path: …}.

    A reference of no known form has the kind None.
    """
    text = value.get("path") if isinstance(value, dict) else value
    return list(_bindings(text)) if isinstance(text, str) else []


def whole(value: Any) -> Binding | None:  # noqa: ANN401
    """Return the reference that a value is as a whole; None for "rows-${{parent.inputs.n}}" and for a plain value."""
    text = value.get("path") if isinstance(value, dict) else value
    return bound(text)[0] if isinstance(text, str) and BINDING.fullmatch(text.strip()) else None


def _bindings(text: str) -> Iterator[Binding]:
    for match in BINDING.finditer(text):
        target = TARGET.fullmatch(match[1])
        if target:
            yield Binding(match[0], target["kind"], target["name"], target["step"])
        else:
            yield Binding(match[0], None, "", None)
