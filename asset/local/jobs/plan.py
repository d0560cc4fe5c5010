"""The plan of a job: its steps in order, with the paths and values of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asset.checks.pipeline import references
from asset.checks.pipeline.data import OwnModel, local_path
from asset.checks.pipeline.source import JobSource, StepSource
from asset.checks.pipeline.steps import order, processes, timeout, variables
from asset.checks.pipeline.values import is_absent
from asset.environments import VirtualEnvironment, environment_of
from asset.findings import Finding, InvalidFileError
from asset.local.jobs.run_folder import RESERVED

if TYPE_CHECKING:
    from azure.ai.ml.entities import Command, PipelineJob


@dataclass(frozen=True)
class StepOutput:
    """An input that is an output of another step."""

    step: str
    name: str


Value = str | Path | StepOutput
"""The value of an input: a text that goes into the command as it is, data of this machine, or an output of a step."""


@dataclass(frozen=True)
class Step:
    """A step of a job. A step of a pipeline component has its full name, such as finetune.train.

    command: the command, with its ${{…}}.
    folder: the folder of the code; None if the component has none.
    outputs: the types of the outputs (uri_file, uri_folder, …) by name.
    mounted: the outputs that are kept if the step does not finish (mode: rw_mount).
    processes: the number of processes; None if the step is not distributed.
    timeout: in seconds.
    """

    name: str
    command: str
    folder: Path | None
    environment: VirtualEnvironment
    inputs: dict[str, Value]
    outputs: dict[str, str]
    mounted: tuple[str, ...] = ()
    processes: int | None = None
    variables: dict[str, str] = field(default_factory=dict)
    timeout: int | None = None

    @property
    def needs(self) -> set[str]:
        """Return the steps whose outputs this step takes."""
        return {value.step for value in self.inputs.values() if isinstance(value, StepOutput)}


@dataclass(frozen=True)
class Plan:
    """The plan of a job. `steps` are in an order in which they can run; `inputs` are the job's inputs as texts."""

    job_file: Path
    experiment: str
    steps: tuple[Step, ...]
    inputs: dict[str, str]
    outputs: dict[str, StepOutput]
    warnings: tuple[str, ...] = ()

    def taken(self, step: str) -> set[str]:
        """Return the outputs of a step that another step or the job takes: the step has to write them."""
        values = [value for other in self.steps for value in other.inputs.values()] + list(self.outputs.values())
        return {value.name for value in values if isinstance(value, StepOutput) and value.step == step}


def plan_job(job: JobSource, loaded: PipelineJob, own: OwnModel) -> Plan:
    """Turn a checked job into steps.

    Raises:
        InvalidFileError: the job needs more than one machine, or a distribution other than PyTorch's.
    """
    steps = tuple(_steps(job, loaded.jobs, own))
    inputs = {
        name: references.as_text(_value(references.own_input(job, name), own))
        for name, value in job.ports("inputs").items()
        if value is not None
    }
    outputs = {
        binding.name: _written_by(job, step.name, name)
        for step in job.steps.values()
        for name, value in step.given("outputs").items()
        for binding in references.bound(value)
    }
    experiment = loaded.experiment_name or job.file.path.stem
    return Plan(job.file.path, experiment, steps, inputs, outputs, tuple(_warnings(job, steps, own)))


def _warnings(job: JobSource, steps: tuple[Step, ...], own: OwnModel) -> Iterator[str]:
    uses_own = own.folder in [value for step in steps for value in step.inputs.values()]
    named = next(_naming(job, own), None)
    if uses_own and named and (warning := own.warning(f"--set {named}.path=FOLDER")):
        yield warning
    if (job.data.get("settings") or {}).get("continue_on_step_failure"):
        yield "continue_on_step_failure has no effect here: the first step that fails ends the run; continue it with --resume"


def _naming(job: JobSource, own: OwnModel) -> Iterator[str]:
    """Yield the inputs that name this checkout's model: inputs.NAME, jobs.STEP.inputs.NAME."""
    for part in job.walk():
        holders = {"inputs": part.ports("inputs")}
        holders |= {f"jobs.{part.full(step.name)}.inputs": step.given("inputs") for step in part.steps.values()}
        for where, inputs in holders.items():
            for name, value in inputs.items():
                if isinstance(value, dict) and own.is_named(str(value.get("path"))):
                    yield f"{where}.{name}"


def _steps(job: JobSource, nodes: Mapping[str, Any], own: OwnModel) -> Iterator[Step]:
    """Yield the steps in order; the steps of a pipeline component replace the step that names it."""
    for name in order(job):
        step = job.steps[name]
        if step.inner is None:
            yield _step(job, step, nodes[name], own)
        else:
            yield from _steps(step.inner, nodes[name].component.jobs, own)


def _step(job: JobSource, step: StepSource, node: Command, own: OwnModel) -> Step:
    component, name = node.component, job.full(step.name)
    if name in RESERVED:
        place = job.place("jobs", step.name)
        message = f"a step cannot be called '{name}', which names a part of a run's folder"
        raise InvalidFileError([Finding(place, message, "rename the step", "step-name")])
    inputs = {}
    for port_name, port in component.inputs.items():
        value = _value(references.step_input(job, step, port_name), own)
        if is_absent(value):
            value = None if port.default is None else references.as_text(port.default)
        if value is not None:
            inputs[port_name] = value
    modes = {output: _mode(job, step, output) or port.mode for output, port in component.outputs.items()}
    return Step(
        name=name,
        command=component.command,
        folder=(step.component.folder / component.code).resolve() if component.code else None,
        environment=environment_of(component.environment),
        inputs=inputs,
        outputs={output: str(port.type) for output, port in component.outputs.items()},
        mounted=tuple(output for output, mode in modes.items() if mode == "rw_mount"),
        processes=processes(job, step, node),
        variables=variables(job, node),
        timeout=timeout(job, step, node),
    )


def _value(given: references.Given, own: OwnModel) -> Value | None:
    if isinstance(given.value, references.Binding):
        return _written_by(given.job, str(given.value.step), given.value.name)
    value = references.plain(given.value)
    if isinstance(value, dict):
        return local_path(value["path"], given.job.file.path.parent, own)
    return None if is_absent(value) else references.as_text(value)


def _written_by(job: JobSource, name: str, output: str) -> StepOutput:
    """Return the output of the step that writes an output; in a pipeline component, that is one of its steps."""
    inner = job.steps[name].inner
    if inner is None:
        return StepOutput(job.full(name), output)
    [(writer, port)] = [
        (step.name, port)
        for step in inner.steps.values()
        for port, value in step.given("outputs").items()
        if any(binding.name == output for binding in references.bound(value))
    ]
    return _written_by(inner, writer, port)


def _mode(job: JobSource, step: StepSource, output: str) -> str | None:
    """Return the mode of a step's output: the step sets it, or the pipeline's output that it is bound to."""
    value = step.given("outputs").get(output)
    binding = references.whole(value)
    if binding is None or binding.step is not None:
        return value.get("mode") if isinstance(value, dict) else None
    outer = None if job.above is None else _mode(job.above, job.above.steps[job.name], binding.name)
    port = job.ports("outputs").get(binding.name)
    return outer or (port.get("mode") if isinstance(port, dict) else None)
