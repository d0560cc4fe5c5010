"""What a step says beside its inputs and outputs: how many processes, its limit, its environment variables, its compute.

A pipeline component binds these to its inputs: process_count_per_instance: ${{parent.inputs.number_of_gpu}}.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from asset.findings import Finding, Place, one_of
from registry.jobs.bindings import bound, whole
from registry.jobs.errors import ELSEWHERE, InvalidJobError
from registry.jobs.given import as_text, own_input, plain, text_with_values
from registry.jobs.source import JobSource, StepSource
from registry.jobs.values import is_absent, problem

if TYPE_CHECKING:
    from azure.ai.ml.entities import Command

SETTINGS = ("compute", "resources", "distribution", "limits", "environment_variables")


def check_settings(job: JobSource, step: StepSource) -> Iterator[Finding]:
    """Find references that lead nowhere."""
    for keys, value in _leaves(step.data):
        for binding in bound(value):
            about = f"'{'.'.join(keys)}' of step '{step.name}'"
            if binding.kind != "inputs" or binding.step is not None:
                message, fix = f"expected ${{{{parent.inputs.NAME}}}}, found {binding.text}", "write that"
            elif binding.name not in job.ports("inputs"):
                names = one_of(binding.name, job.ports("inputs"))
                message = f"{binding.text}: {job.called} has no input '{binding.name}'; {names.message}"
                fix = names.fix
            else:
                continue
            yield Finding(job.place("jobs", step.name, *keys), f"{about}: {message}", fix, "binding")


def processes(job: JobSource, step: StepSource, node: Command) -> int | None:
    """Return how many processes a step has, None where it is not distributed.

    Raises:
        InvalidJobError: it asks for what one machine does not have: several nodes, another distribution than PyTorch's.
    """
    name = job.full(step.name)
    count = getattr(node.resources, "instance_count", None)
    if (found := _whole_number(job, step, ("resources", "instance_count"), count)) != 1:
        raise InvalidJobError(
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
        raise InvalidJobError([Finding(place, message, "only that runs here", ELSEWHERE)])
    return _whole_number(
        job, step, ("distribution", "process_count_per_instance"), distribution.process_count_per_instance
    )


def timeout(job: JobSource, step: StepSource, node: Command) -> int | None:
    """Return the seconds that a step may run."""
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
    """Return the number that a setting is, or that it is bound to; `absent` where that has none."""
    given = value
    binding = whole(value)
    if binding is not None:
        given = plain(own_input(job, binding.name).value)
    if is_absent(given):
        return absent
    if wrong := problem(given, {"type": "integer", "min": 1}):
        message = f"'{'.'.join(keys)}' of step '{job.full(step.name)}': {wrong.message}"
        raise InvalidJobError([Finding(_place(job, step, keys, value), message, wrong.fix, "step-setting")])
    return int(given)


def _place(job: JobSource, step: StepSource, keys: tuple[str, str], value: Any) -> Place:  # noqa: ANN401
    """Return where a setting is written: what it is bound to, the step, or its component."""
    binding = whole(value)
    if binding is not None:
        return own_input(job, binding.name).place
    in_step = keys[0] in step.data
    return job.place("jobs", step.name, *keys) if in_step else step.component.place(*keys)
