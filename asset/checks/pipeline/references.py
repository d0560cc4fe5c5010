"""References of inputs and outputs: ${{parent.inputs.x}}, ${{parent.jobs.s.outputs.y}}, ${{parent.outputs.z}}.

A reference may lead through several pipeline components, up to a value that the job gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from asset.checks.pipeline.source import JobSource, StepSource
from asset.checks.pipeline.values import is_absent
from asset.findings import Place

BINDING = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
TARGET = re.compile(r"parent\.(?:jobs\.(?P<step>[\w-]+)\.)?(?P<kind>inputs|outputs)\.(?P<name>[\w-]+)")


@dataclass(frozen=True)
class Binding:
    """A reference to an input or output (`kind`) of a step, or of the job if `step` is None."""

    text: str
    kind: str | None
    name: str
    step: str | None


def bound(value: Any) -> list[Binding]:  # noqa: ANN401  what YAML holds
    """Return the references in a step's input: in a text, or in the path of {type: …, path: …}.

    A reference of an unknown form has the kind None.
    """
    text = value.get("path") if isinstance(value, dict) else value
    return list(_bindings(text)) if isinstance(text, str) else []


def whole(value: Any) -> Binding | None:  # noqa: ANN401
    """Return the reference that is the whole value; None for "rows-${{parent.inputs.n}}" and for a plain value."""
    text = value.get("path") if isinstance(value, dict) else value
    return bound(text)[0] if isinstance(text, str) and BINDING.fullmatch(text.strip()) else None


def _bindings(text: str) -> Iterator[Binding]:
    for match in BINDING.finditer(text):
        target = TARGET.fullmatch(match[1])
        if target:
            yield Binding(match[0], target["kind"], target["name"], target["step"])
        else:
            yield Binding(match[0], None, "", None)


@dataclass(frozen=True)
class Given:
    """A value as YAML holds it, or the reference to the output of a step of `job`, in whose file it is written."""

    value: Any
    job: JobSource
    place: Place
    owner: str
    """The giver of the value, such as "the job's 'mode'"."""


def own_input(job: JobSource, name: str) -> Given:
    """Return the value of ${{parent.inputs.NAME}}: in a job its input, in a pipeline component the input of its step."""
    if job.above is None:
        return Given(job.ports("inputs").get(name), job, job.place("inputs", name), f"the job's '{name}'")
    given = step_input(job.above, job.above.steps[job.name], name)
    if not is_absent(plain(given.value)):
        return given
    default = (job.ports("inputs").get(name) or {}).get("default")
    return Given(default, job, job.place("inputs", name, "default"), f"the default of '{name}'")


def step_input(job: JobSource, step: StepSource, name: str) -> Given:
    """Return the value of a step's input, with its references followed."""
    value = step.given("inputs").get(name)
    reference = whole(value)
    if reference is not None and _is_own(reference):
        return own_input(job, reference.name)
    given = text_with_values(job, value) if reference is None else reference
    place = job.place("jobs", step.name, "inputs", name)
    return Given(given, job, place, f"'{name}' of step '{job.full(step.name)}'")


def text_with_values(job: JobSource, value: Any) -> Any:  # noqa: ANN401  what YAML holds
    """Replace the references to inputs in a text with values: "rows-${{parent.inputs.n}}" becomes "rows-3"."""
    if not isinstance(value, str):
        return value

    def filled(match: Any) -> str:  # noqa: ANN401
        [reference] = bound(match[0])
        return as_text(plain(own_input(job, reference.name).value)) if _is_own(reference) else match[0]

    return BINDING.sub(filled, value)


def plain(value: Any) -> Any:  # noqa: ANN401
    """Return a plain value: 3 for {type: integer, value: 3}, None for {type: uri_file}; data with a path is returned as it is."""
    if not isinstance(value, dict):
        return value
    return value if not is_absent(value.get("path")) else value.get("value")


def as_text(value: object) -> str:
    """Write a value as the Azure SDK does: True for true."""
    return "" if value is None else str(value)


def _is_own(reference: Binding) -> bool:
    return reference.step is None and reference.kind == "inputs"
