"""What is wrong between a job and its steps that the Azure SDK lets through: names, bindings, values.

A pipeline component is looked at as a job too. What stands in its file is said of its own steps (`prepare`), what it is
given of the steps of this job (`finetune.prepare`).
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterator
from typing import Any

from registry.jobs.bindings import Binding, bound, whole
from registry.jobs.errors import Finding, Place
from registry.jobs.given import step_input
from registry.jobs.settings import one_of
from registry.jobs.source import JobSource, StepSource
from registry.jobs.values import is_absent, is_data, is_plain, problem


def check_step(job: JobSource, step: StepSource) -> Iterator[Finding]:
    """Check the inputs and outputs that a step gives, against its component, the job and the other steps."""
    for name, value in step.given("inputs").items():
        place = job.place("jobs", step.name, "inputs", name)
        if step.component.declared and name not in step.component.ports("inputs"):
            fix = one_of(name, step.component.ports("inputs"))
            yield Finding(place, f"step '{step.name}' has no input '{name}'; {fix}")
            continue
        broken = [text for binding in bound(value) if (text := _broken(job, binding))]
        for text in broken:
            yield Finding(place, f"input '{name}' of step '{step.name}': {text}")
        in_part = [text for binding in bound(value) if not whole(value) and (text := _data_in_text(job, binding))]
        for text in [] if broken else in_part:
            yield Finding(place, f"input '{name}' of step '{step.name}': {text}")
        if not broken and not in_part and step.component.declared:
            yield from _suits(job, step, name, value)
    yield from _missing(job, step)
    yield from _outputs(job, step)


def check_order(job: JobSource) -> Iterator[Finding]:
    """Find steps that wait for each other."""
    try:
        order(job)
    except graphlib.CycleError as exc:
        circle = list(reversed(exc.args[1]))
        yield Finding(
            job.place("jobs", circle[0]), f"expected steps in an order, found a circle: {' -> '.join(circle)}; cut it"
        )


def check_outputs(job: JobSource) -> Iterator[Finding]:
    """Find outputs of a job or a pipeline component that no step writes, or several."""
    writers: dict[str, list[str]] = {}
    for step in job.steps.values():
        for value in step.given("outputs").values():
            for binding in bound(value):
                writers.setdefault(binding.name, []).append(step.name)
    for name in job.ports("outputs"):
        if len(writers.get(name, [])) != 1:
            found = ", ".join(writers.get(name, [])) or "none"
            yield Finding(
                job.place("outputs", name),
                f"expected one step that writes {job.called}'s output '{name}', found {found}; "
                f"write `OUTPUT: ${{{{parent.outputs.{name}}}}}` under the outputs of one",
            )


def order(job: JobSource) -> list[str]:
    """Return the names of the steps so that each comes after those whose outputs it takes, else as written.

    Raises:
        graphlib.CycleError: they wait for each other.
    """
    sorter = graphlib.TopologicalSorter({name: needs(step) & set(job.steps) for name, step in job.steps.items()})
    sorter.prepare()
    ready, ordered = [], []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=list(job.steps).index)
        ordered.append(ready.pop(0))
        sorter.done(ordered[-1])
    return ordered


def needs(step: StepSource) -> set[str]:
    """Return the names of the steps whose outputs a step takes."""
    return {binding.step for value in step.given("inputs").values() for binding in bound(value) if binding.step}


def _broken(job: JobSource, binding: Binding) -> str | None:
    """Say why a reference in an input leads nowhere, or None."""
    if binding.step is not None and binding.step not in job.steps:
        return f"{binding.text}: {job.called} has no step '{binding.step}'; {one_of(binding.step, job.steps)}"
    if binding.step is not None and binding.kind == "outputs":
        step = job.steps[binding.step]
        ports = step.component.ports("outputs") if step.component.declared else step.given("outputs")
        if binding.name not in ports:
            return (
                f"{binding.text}: step '{binding.step}' has no output '{binding.name}'; {one_of(binding.name, ports)}"
            )
        return None
    if binding.step is None and binding.kind == "inputs":
        if binding.name not in job.ports("inputs"):
            fix = one_of(binding.name, job.ports("inputs"))
            return f"{binding.text}: {job.called} has no input '{binding.name}'; {fix}"
        return None
    return f"expected ${{{{parent.inputs.NAME}}}} or ${{{{parent.jobs.STEP.outputs.NAME}}}}, found {binding.text}; write one"


def _data_in_text(job: JobSource, binding: Binding) -> str | None:
    """Say why a reference cannot stand within a text, or None: data has no path before its step runs."""
    if binding.step is None and not _is_data_input(job, binding.name):
        return None
    return f"expected a plain value within a text, found data, {binding.text}; bind it alone, and add the rest in the command"


def _is_data_input(job: JobSource, name: str) -> bool:
    """Return whether an input of a job has data, or that of a pipeline component is declared to."""
    value = job.ports("inputs").get(name)
    if not isinstance(value, dict):
        return False
    return is_data(value) if job.above else "value" not in value


def _suits(job: JobSource, step: StepSource, name: str, value: Any) -> Iterator[Finding]:  # noqa: ANN401  what YAML holds
    """Check what an input gets in the end against how the component declares it."""
    port, binding = step.component.ports("inputs")[name], whole(value)
    place, about = job.place("jobs", step.name, "inputs", name), f"input '{name}' of step '{step.name}'"
    if binding is not None and job.above and binding.kind == "inputs":
        is_data_here = _is_data_input(job, binding.name)
        if is_data_here != is_data(port):
            found = "data" if is_data_here else "a plain value"
            yield Finding(place, f"{about}: expected a {port.get('type')}, found {found}, {binding.text}; bind another")
            return
    given = step_input(job, step, name)
    if isinstance(given.value, Binding):
        # In a pipeline component, what comes from another step is told of where it is given.
        if not is_data(port) and given.job is job:
            found = given.value.text
            yield Finding(place, f"{about}: expected a {port.get('type')}, found data, {found}; bind a plain value")
        return
    if bound(value) and binding is None:
        return
    if binding is not None:
        about = f"input '{name}' of step '{job.full(step.name)}' ({given.owner})"
        if job.above and _mismatch(given.value, job.ports("inputs")[binding.name]):
            return  # It does not suit the pipeline component, which is told of there.
    if wrong := _mismatch(given.value, port):
        yield Finding(given.place, f"{about}: {wrong}")


def _mismatch(value: Any, port: dict[str, Any]) -> str | None:  # noqa: ANN401
    """Say why a value that is not bound does not suit an input, or None."""
    if isinstance(value, dict) and "value" in value:
        value = value["value"]
    if is_absent(value):
        return None
    if is_data(port):
        fix = f"write {{type: {port['type']}, path: …}}"
        return f"expected data ({port['type']}), found {value!r}; {fix}" if is_plain(value) else None
    if isinstance(value, dict):
        return f"expected a {port.get('type')}, found data ({value.get('type')}); give a plain value"
    return problem(value, port)


def _missing(job: JobSource, step: StepSource) -> Iterator[Finding]:
    for name, port in step.component.ports("inputs").items() if step.component.declared else ():
        value = step.given("inputs").get(name)
        binding = whole(value)
        if job.above and binding and not port.get("optional") and _is_optional(job, binding):
            message = (
                f"input '{name}' of step '{step.name}' is required by its component, and {binding.text} is optional, "
                "which Azure refuses; write `optional: true` at both or at none"
            )
            yield Finding(job.place("jobs", step.name, "inputs", name), message)
        if port.get("optional") or port.get("default") is not None:
            continue
        if is_absent(value):
            yield Finding(
                job.place("jobs", step.name, "inputs"),
                f"step '{step.name}' gets no '{name}', which its component requires; add `{name}: …` to its inputs",
            )
        elif not job.above and binding and binding.step is None and binding.name in job.ports("inputs"):
            yield from _missing_from_job(job, binding.name, f"'{name}' of step '{step.name}'")


def _is_optional(job: JobSource, binding: Binding) -> bool:
    port = job.ports("inputs").get(binding.name) if binding.step is None else None
    return bool(port and port.get("optional"))


def _missing_from_job(job: JobSource, name: str, wanted: str) -> Iterator[Finding]:
    value = job.ports("inputs")[name]
    part = ".path" if isinstance(value, dict) else ""
    if is_absent(value) or (isinstance(value, dict) and is_absent(value.get("path")) and "value" not in value):
        yield Finding(
            job.place("inputs", name),
            f"the job's input '{name}' has no value, and {wanted} requires one; give it with --set inputs.{name}{part}=…",
        )


def _outputs(job: JobSource, step: StepSource) -> Iterator[Finding]:
    for name, value in step.given("outputs").items():
        place = job.place("jobs", step.name, "outputs", name)
        ports = step.component.ports("outputs")
        if step.component.declared and name not in ports:
            yield Finding(place, f"step '{step.name}' has no output '{name}'; {one_of(name, ports)}")
        for binding in bound(value):
            yield from _output_binding(job, place, binding)


def _output_binding(job: JobSource, place: Place, binding: Binding) -> Iterator[Finding]:
    if binding.step is not None or binding.kind != "outputs":
        yield Finding(place, f"expected ${{{{parent.outputs.NAME}}}}, found {binding.text}; write that")
    elif binding.name not in job.ports("outputs"):
        known = job.ports("outputs")
        yield Finding(
            place, f"{binding.text}: {job.called} has no output '{binding.name}'; {one_of(binding.name, known)}"
        )
