"""Mistakes between a job and its steps that the Azure SDK lets through: names, bindings, values, and other settings of steps.

A pipeline component is checked as a job too. A mistake in its file names its own step (`prepare`); a mistake in what it is
given names the step of the job (`finetune.prepare`).

Settings are a step's processes, time limit, environment variables and compute. A pipeline component binds them to its
inputs: process_count_per_instance: ${{parent.inputs.number_of_gpu}}.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from asset.checks.pipeline.references import (
    Binding,
    as_text,
    bound,
    own_input,
    plain,
    step_input,
    text_with_values,
    whole,
)
from asset.checks.pipeline.source import JobSource, StepSource
from asset.checks.pipeline.values import is_absent, is_data, is_plain, type_problem, value_problem
from asset.findings import ELSEWHERE, Finding, InvalidFileError, Place, one_of, problem

if TYPE_CHECKING:
    from azure.ai.ml.entities import Command


def check_step(job: JobSource, step: StepSource) -> Iterator[Finding]:
    """Check a step's inputs and outputs against its component, the job and the other steps."""
    for name, value in step.given("inputs").items():
        place = job.place("jobs", step.name, "inputs", name)
        if step.component.declared and name not in step.component.ports("inputs"):
            about = f"step '{step.name}' has no input '{name}'"
            yield one_of(name, step.component.ports("inputs"), about).at(place, "unknown-input")
            continue
        broken = [wrong for binding in bound(value) if (wrong := _broken(job, binding))]
        in_part = [wrong for binding in bound(value) if not whole(value) and (wrong := _data_in_text(job, binding))]
        for wrong in broken or in_part:
            yield wrong.at(place, "binding", f"input '{name}' of step '{step.name}'")
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
        message = f"expected steps in an order, found a circle: {' -> '.join(circle)}"
        yield Finding(job.place("jobs", circle[0]), message, "cut it", "step-order")


def check_types(job: JobSource) -> Iterator[Finding]:
    """Find inputs and outputs of a job with an unknown type; a pipeline component's are checked with the component."""
    for kind in () if job.above else ("inputs", "outputs"):
        for name, value in job.ports(kind).items():
            if isinstance(value, dict) and "type" in value and (wrong := type_problem(value)):
                yield wrong.at(job.place(kind, name, "type"), "port-type", f"the type of {kind[:-1]} '{name}'")


def check_outputs(job: JobSource) -> Iterator[Finding]:
    """Find outputs of a job or a pipeline component that no step writes, or that several steps write."""
    writers: dict[str, list[str]] = {}
    for step in job.steps.values():
        for value in step.given("outputs").values():
            for binding in bound(value):
                writers.setdefault(binding.name, []).append(step.name)
    for name in job.ports("outputs"):
        if len(writers.get(name, [])) != 1:
            found = ", ".join(writers.get(name, [])) or "none"
            message = f"expected one step that writes {job.called}'s output '{name}', found {found}"
            fix = f"write `OUTPUT: ${{{{parent.outputs.{name}}}}}` under the outputs of one"
            yield Finding(job.place("outputs", name), message, fix, "job-output")


def order(job: JobSource) -> list[str]:
    """Return the names of the steps, each after the steps whose outputs it takes, otherwise in the order of the file.

    Raises:
        graphlib.CycleError: steps wait for each other.
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


def _broken(job: JobSource, binding: Binding) -> Finding | None:
    """Say why a reference in an input leads nowhere; None if it leads somewhere."""
    if binding.step is not None and binding.step not in job.steps:
        return one_of(binding.step, job.steps, f"{binding.text}: {job.called} has no step '{binding.step}'")
    if binding.step is not None and binding.kind == "outputs":
        step = job.steps[binding.step]
        ports = step.component.ports("outputs") if step.component.declared else step.given("outputs")
        if binding.name not in ports:
            return one_of(binding.name, ports, f"{binding.text}: step '{binding.step}' has no output '{binding.name}'")
        return None
    if binding.step is None and binding.kind == "inputs":
        if binding.name not in job.ports("inputs"):
            return _no_port(job, "input", binding)
        return None
    expected = "${{parent.inputs.NAME}} or ${{parent.jobs.STEP.outputs.NAME}}"
    return problem(f"expected {expected}, found {binding.text}", "write one")


def _no_port(job: JobSource, kind: str, binding: Binding) -> Finding:
    """Say that a job has no input or output (`kind`) of the name that a reference has."""
    return one_of(binding.name, job.ports(f"{kind}s"), f"{binding.text}: {job.called} has no {kind} '{binding.name}'")


def _data_in_text(job: JobSource, binding: Binding) -> Finding | None:
    """Say why a reference cannot be part of a text; None if it can. Data has no path before its step runs."""
    if binding.step is None and not _is_data_input(job, binding.name):
        return None
    message = f"expected a plain value within a text, found data, {binding.text}"
    return problem(message, "bind it alone, and add the rest in the command")


def _is_data_input(job: JobSource, name: str) -> bool:
    """Decide if an input of a job is data, or is declared as data in a pipeline component."""
    value = job.ports("inputs").get(name)
    if not isinstance(value, dict):
        return False
    return is_data(value) if job.above else "value" not in value


def _suits(job: JobSource, step: StepSource, name: str, value: Any) -> Iterator[Finding]:  # noqa: ANN401  what YAML holds
    """Check the value that an input gets in the end against the component's declaration."""
    port, binding = step.component.ports("inputs")[name], whole(value)
    place, about = job.place("jobs", step.name, "inputs", name), f"input '{name}' of step '{step.name}'"
    if binding is not None and job.above and binding.kind == "inputs":
        is_data_here = _is_data_input(job, binding.name)
        if is_data_here != is_data(port):
            found = "data" if is_data_here else "a plain value"
            message = f"{about}: expected a {port.get('type')}, found {found}, {binding.text}"
            yield Finding(place, message, "bind another", "input-value")
            return
    given = step_input(job, step, name)
    if isinstance(given.value, Binding):
        # In a pipeline component, a value from another step is checked at the step that gives it.
        if not is_data(port) and given.job is job:
            found = given.value.text
            message = f"{about}: expected a {port.get('type')}, found data, {found}"
            yield Finding(place, message, "bind a plain value", "input-value")
        return
    if bound(value) and binding is None:
        return
    if binding is not None:
        about = f"input '{name}' of step '{job.full(step.name)}' ({given.owner})"
        if job.above and _mismatch(given.value, job.ports("inputs")[binding.name]):
            return  # The value does not suit the pipeline component either; that is said at the component.
    if wrong := _mismatch(given.value, port):
        yield wrong.at(given.place, "input-value", about)


def _mismatch(value: Any, port: dict[str, Any]) -> Finding | None:  # noqa: ANN401
    """Say why a value without references does not suit an input; None if it does."""
    if isinstance(value, dict) and "value" in value:
        value = value["value"]
    if is_absent(value):
        return None
    if is_data(port):
        fix = f"write {{type: {port['type']}, path: …}}"
        return problem(f"expected data ({port['type']}), found {value!r}", fix) if is_plain(value) else None
    if isinstance(value, dict):
        return problem(f"expected a {port.get('type')}, found data ({value.get('type')})", "give a plain value")
    return value_problem(value, port)


def _missing(job: JobSource, step: StepSource) -> Iterator[Finding]:
    for name, port in step.component.ports("inputs").items() if step.component.declared else ():
        value = step.given("inputs").get(name)
        binding = whole(value)
        if job.above and binding and not port.get("optional") and _is_optional(job, binding):
            message = (
                f"input '{name}' of step '{step.name}' is required by its component, and {binding.text} is optional, "
                "which Azure refuses"
            )
            place = job.place("jobs", step.name, "inputs", name)
            yield Finding(place, message, "write `optional: true` at both or at none", "optional-binding")
        if port.get("optional") or port.get("default") is not None:
            continue
        if is_absent(value):
            message = f"step '{step.name}' gets no '{name}', which its component requires"
            place = job.place("jobs", step.name, "inputs")
            yield Finding(place, message, f"add `{name}: …` to its inputs", "missing-input")
        elif not job.above and binding and binding.step is None and binding.name in job.ports("inputs"):
            yield from _missing_from_job(job, binding.name, f"'{name}' of step '{step.name}'")


def _is_optional(job: JobSource, binding: Binding) -> bool:
    port = job.ports("inputs").get(binding.name) if binding.step is None else None
    return bool(port and port.get("optional"))


def _missing_from_job(job: JobSource, name: str, wanted: str) -> Iterator[Finding]:
    value = job.ports("inputs")[name]
    part = ".path" if isinstance(value, dict) else ""
    if is_absent(value) or (isinstance(value, dict) and is_absent(value.get("path")) and "value" not in value):
        message = f"the job's input '{name}' has no value, and {wanted} requires one"
        yield Finding(job.place("inputs", name), message, f"give it with --set inputs.{name}{part}=…", "no-value")


def _outputs(job: JobSource, step: StepSource) -> Iterator[Finding]:
    for name, value in step.given("outputs").items():
        place = job.place("jobs", step.name, "outputs", name)
        ports = step.component.ports("outputs")
        if step.component.declared and name not in ports:
            yield one_of(name, ports, f"step '{step.name}' has no output '{name}'").at(place, "unknown-output")
        for binding in bound(value):
            yield from _output_binding(job, place, binding)


def _output_binding(job: JobSource, place: Place, binding: Binding) -> Iterator[Finding]:
    if binding.step is not None or binding.kind != "outputs":
        message = f"expected ${{{{parent.outputs.NAME}}}}, found {binding.text}"
        yield Finding(place, message, "write that", "binding")
    elif binding.name not in job.ports("outputs"):
        yield _no_port(job, "output", binding).at(place, "binding")


SETTINGS = ("compute", "resources", "distribution", "limits", "environment_variables")


def check_settings(job: JobSource, step: StepSource) -> Iterator[Finding]:
    """Find references that lead nowhere."""
    for keys, value in _leaves(step.data):
        for binding in bound(value):
            if binding.kind != "inputs" or binding.step is not None:
                wrong = problem(f"expected ${{{{parent.inputs.NAME}}}}, found {binding.text}", "write that")
            elif binding.name not in job.ports("inputs"):
                wrong = _no_port(job, "input", binding)
            else:
                continue
            about = f"'{'.'.join(keys)}' of step '{step.name}'"
            yield wrong.at(job.place("jobs", step.name, *keys), "binding", about)


def processes(job: JobSource, step: StepSource, node: Command) -> int | None:
    """Return the number of processes of a step; None if the step is not distributed.

    Raises:
        InvalidFileError: the step needs several nodes, or another distribution than PyTorch's, which one machine does not have.
    """
    name = job.full(step.name)
    count = getattr(node.resources, "instance_count", None)
    if (found := _whole_number(job, step, ("resources", "instance_count"), count)) != 1:
        raise InvalidFileError(
            [
                Finding(
                    _place(job, step, ("resources", "instance_count"), count),
                    f"expected one instance for step '{name}', found {found}",
                    "this machine is one: set instance_count to 1 and process_count_per_instance to what it can run",
                    ELSEWHERE,
                )
            ]
        )
    distribution = node.distribution
    if distribution is None:
        return None
    if str(distribution.type).lower() != "pytorch":
        message = f"expected the distribution pytorch in step '{name}', found {distribution.type}"
        place = _place(job, step, ("distribution", "type"), None)
        raise InvalidFileError([Finding(place, message, "only that runs here", ELSEWHERE)])
    return _whole_number(
        job, step, ("distribution", "process_count_per_instance"), distribution.process_count_per_instance
    )


def timeout(job: JobSource, step: StepSource, node: Command) -> int | None:
    """Return the seconds that a step may run; None if it has no limit."""
    limit = getattr(node.limits, "timeout", None)
    return None if limit is None else _whole_number(job, step, ("limits", "timeout"), limit, absent=None)


def variables(job: JobSource, node: Command) -> dict[str, str]:
    """Return the environment variables of a step."""
    given = node.environment_variables or {}
    return {name: as_text(text_with_values(job, value)) for name, value in given.items()}


def _leaves(data: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key in SETTINGS:
        value = data.get(key)
        if isinstance(value, dict):
            yield from (((key, str(name)), part) for name, part in value.items())
        else:
            yield (key,), value


def _whole_number(
    job: JobSource,
    step: StepSource,
    keys: tuple[str, str],
    value: Any,  # noqa: ANN401
    absent: int | None = 1,
) -> int | None:
    """Return the number of a setting, with its reference followed; `absent` if it has no value."""
    given = value
    binding = whole(value)
    if binding is not None:
        given = plain(own_input(job, binding.name).value)
    if is_absent(given):
        return absent
    if wrong := value_problem(given, {"type": "integer", "min": 1}):
        about = f"'{'.'.join(keys)}' of step '{job.full(step.name)}'"
        raise InvalidFileError([wrong.at(_place(job, step, keys, value), "step-setting", about)])
    return int(given)


def _place(job: JobSource, step: StepSource, keys: tuple[str, str], value: Any) -> Place:  # noqa: ANN401
    """Return the place of a setting: of the input that it refers to, else in the step or its component."""
    binding = whole(value)
    if binding is not None:
        return own_input(job, binding.name).place
    in_step = keys[0] in step.data
    return job.place("jobs", step.name, *keys) if in_step else step.component.place(*keys)
