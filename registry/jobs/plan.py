"""What is to be run, step by step, with every path and value of this machine in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.jobs import sdk
from registry.jobs.bindings import BINDING, bound, whole
from registry.jobs.environments import VirtualEnvironment, environment_for
from registry.jobs.errors import Finding, InvalidJobError
from registry.jobs.local_data import OwnModel, local_path
from registry.jobs.run_folder import RESERVED
from registry.jobs.source import JobSource, StepSource
from registry.jobs.step_checks import order
from registry.jobs.values import is_absent

if TYPE_CHECKING:
    from azure.ai.ml.entities import Command, PipelineJob


@dataclass(frozen=True)
class StepOutput:
    """An input that is an output of another step."""

    step: str
    name: str


Value = str | Path | StepOutput
"""What an input has: a text that goes into the command as it is, data of this machine, or another step's output."""


@dataclass(frozen=True)
class Step:
    """One step.

    `command` still has its ${{…}}; `folder` is None where the component has no code; `processes` is None where it is not
    distributed; `outputs` are types (uri_file, uri_folder, …) by name.
    """

    name: str
    command: str
    folder: Path | None
    environment: VirtualEnvironment
    inputs: dict[str, Value]
    outputs: dict[str, str]
    processes: int | None = None
    variables: dict[str, str] = field(default_factory=dict)
    timeout: int | None = None
    """Seconds."""

    @property
    def needs(self) -> set[str]:
        """Return the steps whose outputs it takes."""
        return {value.step for value in self.inputs.values() if isinstance(value, StepOutput)}


@dataclass(frozen=True)
class Plan:
    """A job. `steps` are in an order in which they can run, `inputs` are the job's own, as text, for the record."""

    job_file: Path
    experiment: str
    steps: tuple[Step, ...]
    inputs: dict[str, str]
    outputs: dict[str, StepOutput]
    warnings: tuple[str, ...] = ()

    def taken(self, step: str) -> set[str]:
        """Return the outputs of a step that another one or the job takes: those that it has to write."""
        values = [value for other in self.steps for value in other.inputs.values()] + list(self.outputs.values())
        return {value.name for value in values if isinstance(value, StepOutput) and value.step == step}


def plan_job(job: JobSource, loaded: PipelineJob, own: OwnModel) -> Plan:
    """Turn a checked job into steps.

    Raises:
        InvalidJobError: it asks for what one machine does not have: several nodes, another distribution than PyTorch's.
    """
    steps = tuple(_step(job, job.steps[name], loaded.jobs[name], own) for name in order(job))
    inputs = {
        name: _text(_own_value(job, value, own)) for name, value in job.ports("inputs").items() if value is not None
    }
    outputs = {
        binding.name: StepOutput(step.name, name)
        for step in job.steps.values()
        for name, value in step.given("outputs").items()
        for binding in bound(value)
    }
    experiment = loaded.experiment_name or job.file.path.stem
    return Plan(job.file.path, experiment, steps, inputs, outputs, tuple(_warnings(job, steps, own)))


def _warnings(job: JobSource, steps: tuple[Step, ...], own: OwnModel) -> Iterator[str]:
    uses_own = own.folder in [value for step in steps for value in step.inputs.values()]
    if uses_own and own.warning and _names_own(job, own):
        yield own.warning
    if (job.data.get("settings") or {}).get("continue_on_step_failure"):
        yield "continue_on_step_failure is for Azure: here the first step that fails ends the run; continue it with --resume"


def _names_own(job: JobSource, own: OwnModel) -> bool:
    values = [
        *job.ports("inputs").values(),
        *(value for step in job.steps.values() for value in step.given("inputs").values()),
    ]
    return any(isinstance(value, dict) and own.is_named(str(value.get("path"))) for value in values)


def _step(job: JobSource, step: StepSource, node: Command, own: OwnModel) -> Step:
    component = node.component
    if step.name in RESERVED:
        raise InvalidJobError(
            [
                Finding(
                    job.place("jobs", step.name), f"'{step.name}' names a part of a run's folder here; rename the step"
                )
            ]
        )
    inputs = {}
    for name, port in component.inputs.items():
        value = _value(job, step.given("inputs").get(name), own)
        if is_absent(value):
            value = None if port.default is None else _text(port.default)
        if value is not None:
            inputs[name] = value
    return Step(
        name=step.name,
        command=component.command,
        folder=(step.component.folder / component.code).resolve() if component.code else None,
        environment=environment_for(sdk.source_path(component.environment)),
        inputs=inputs,
        outputs={name: str(port.type) for name, port in component.outputs.items()},
        processes=_processes(job, step, node),
        variables={name: _text(value) for name, value in (node.environment_variables or {}).items()},
        timeout=getattr(node.limits, "timeout", None),
    )


def _value(job: JobSource, value: Any, own: OwnModel) -> Value | None:  # noqa: ANN401  what YAML holds
    binding = whole(value)
    if binding is not None and binding.step is not None:
        return StepOutput(binding.step, binding.name)
    if binding is not None:
        return _own_value(job, job.ports("inputs")[binding.name], own)
    if isinstance(value, str):
        return BINDING.sub(lambda match: _text(_value(job, match[0], own)), value)
    return _own_value(job, value, own)


def _own_value(job: JobSource, value: Any, own: OwnModel) -> Value | None:  # noqa: ANN401
    if isinstance(value, dict):
        path = value.get("path")
        return (
            _own_value(job, value.get("value"), own) if is_absent(path) else local_path(path, job.file.path.parent, own)
        )
    return None if is_absent(value) else _text(value)


def _text(value: object) -> str:
    """Write a value as Azure's SDK does: True for true."""
    return "" if value is None else str(value)


def _processes(job: JobSource, step: StepSource, node: Command) -> int | None:
    def place(*keys: str) -> Any:  # noqa: ANN401
        in_step = keys[0] in step.data
        return job.place("jobs", step.name, *keys) if in_step else step.component.place(*keys)

    count = getattr(node.resources, "instance_count", None) or 1
    if int(count) != 1:
        raise InvalidJobError(
            [
                Finding(
                    place("resources", "instance_count"),
                    f"expected one instance for step '{step.name}', found {count}; this machine is one: "
                    "set instance_count to 1 and process_count_per_instance to what it can run",
                )
            ]
        )
    distribution = node.distribution
    if distribution is None:
        return None
    if str(distribution.type).lower() != "pytorch":
        message = (
            f"expected the distribution pytorch in step '{step.name}', found {distribution.type}; only that runs here"
        )
        raise InvalidJobError([Finding(place("distribution", "type"), message)])
    return int(distribution.process_count_per_instance or 1)
