"""A job file and the component files that its steps name, as they are written, each value with its place.

A step whose component is a pipeline component has steps of its own: those are a job again, below it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.jobs.errors import Finding, InvalidJobError, Place
from registry.jobs.yaml_file import Keys, YamlFile

KINDS = ("command", "pipeline")
"""The types of steps and components that run here."""


@dataclass(frozen=True)
class ComponentSource:
    """What a step runs: a file of its own, or a part of the job file."""

    file: YamlFile
    keys: Keys = ()
    declared: bool = True
    """Whether it declares its inputs and outputs; a command written into the job takes what the step gives."""

    @property
    def data(self) -> dict[str, Any]:
        """Return the component's keys and values."""
        found = self.file.data
        for key in self.keys:
            found = found[key]
        return found

    @property
    def folder(self) -> Path:
        """Return the folder that its relative paths start from."""
        return self.file.path.parent

    @property
    def is_pipeline(self) -> bool:
        """Return whether it is made of steps."""
        return self.data.get("type") == "pipeline"

    def ports(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return what is declared under "inputs" or "outputs", by name."""
        return {name: port if isinstance(port, dict) else {} for name, port in (self.data.get(kind) or {}).items()}

    def place(self, *keys: str) -> Place:
        """Return where a part of the component is written."""
        return self.file.place(*self.keys, *keys)


@dataclass(frozen=True)
class StepSource:
    """A step of the job."""

    name: str
    data: dict[str, Any]
    component: ComponentSource
    inner: JobSource | None = None
    """The steps that it stands for, where its component is a pipeline component."""

    def given(self, kind: str) -> dict[str, Any]:
        """Return what the step gives under "inputs" or "outputs", by name."""
        return self.data.get(kind) or {}


@dataclass
class JobSource:
    """The job file's content, with what `--set` changed in it; or that of a pipeline component, for a step of `above`.

    `name` is empty for the job itself, and for a pipeline component the step's.
    """

    file: YamlFile
    data: dict[str, Any]
    steps: dict[str, StepSource] = field(default_factory=dict)
    set_by: dict[Keys, Place] = field(default_factory=dict)
    above: JobSource | None = None
    name: str = ""

    @property
    def called(self) -> str:
        """Return what it is, for messages."""
        return "the job" if self.above is None else "the pipeline component"

    def full(self, step: str) -> str:
        """Return a step's name with those of the steps that it is within: finetune.train."""
        return step if self.above is None else f"{self.above.full(self.name)}.{step}"

    def ports(self, kind: str) -> dict[str, Any]:
        """Return its own "inputs" or "outputs", by name: values of a job, declarations of a pipeline component."""
        return self.data.get(kind) or {}

    def walk(self) -> Iterator[JobSource]:
        """Yield it and the pipeline components below it."""
        yield self
        for step in self.steps.values():
            if step.inner is not None:
                yield from step.inner.walk()

    def place(self, *keys: str) -> Place:
        """Return where a part of the job is written: a line of the file, or the option that set it."""
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.set_by:
                return self.set_by[keys[:end]]
        return self.file.place(*keys)


def read_job(path: Path) -> JobSource:
    """Read a job file and the component files that it names.

    Raises:
        InvalidJobError: one of them is not there or no YAML, or it is not a pipeline job of commands and pipeline
            components.
    """
    file = YamlFile(path.resolve())
    return _read_steps(JobSource(file, file.data))


def _read_steps(job: JobSource) -> JobSource:
    problems = list(_shape(job))
    if not problems:
        for name, step in job.data["jobs"].items():
            try:
                job.steps[name] = _step(job, name, step)
            except InvalidJobError as exc:
                problems += exc.findings
    if problems:
        raise InvalidJobError(problems)
    return job


def _step(job: JobSource, name: str, step: dict[str, Any]) -> StepSource:
    component = _component(job, name, step)
    if not component.is_pipeline:
        return StepSource(name, step, component)
    around: JobSource | None = job
    while around is not None:
        if around.file.path == component.file.path:
            message = f"expected a component without itself in it, found {step['component']} in itself; cut the circle"
            raise InvalidJobError([Finding(job.place("jobs", name, "component"), message)])
        around = around.above
    inner = JobSource(component.file, component.data, above=job, name=name)
    return StepSource(name, step, component, _read_steps(inner))


def _shape(job: JobSource) -> Iterator[Finding]:
    """Say where the file is not made of the mappings that everything else here goes through."""
    if job.data.get("type") != "pipeline":
        found = repr(job.data.get("type", "no type"))
        yield Finding(
            job.place("type"), f"expected `type: pipeline`, found {found}; write the command as a step of one"
        )
        return
    steps = job.data.get("jobs")
    if not isinstance(steps, dict) or not steps:
        yield Finding(job.place("jobs"), "expected steps under `jobs`, found none; write one (as in `predict: …`)")
        return
    parts = [(("inputs",), job.data), (("outputs",), job.data)]
    for name, step in steps.items():
        if not isinstance(step, dict):
            yield Finding(job.place("jobs", name), f"expected keys and values for step '{name}', found {step!r}")
            continue
        parts += [(("jobs", name, kind), step) for kind in ("inputs", "outputs")]
        if step.get("type", "command") not in KINDS:
            yield Finding(
                job.place("jobs", name, "type"),
                f"expected `type: command` or `type: pipeline` in step '{name}', found {step['type']!r}; "
                "only commands and pipeline components run here",
            )
    for keys, holder in parts:
        if not isinstance(holder.get(keys[-1]) or {}, dict):
            yield Finding(job.place(*keys), f"expected names and values under `{keys[-1]}`, found something else")


def _component(job: JobSource, name: str, step: dict[str, Any]) -> ComponentSource:
    named, place = step.get("component"), job.place("jobs", name, "component")
    if isinstance(named, dict):
        return _of_kind(step, place, _checked(ComponentSource(job.file, ("jobs", name, "component"))))
    if named is None and "command" in step:
        return ComponentSource(job.file, ("jobs", name), declared=False)
    if not isinstance(named, str):
        raise InvalidJobError(
            [
                Finding(
                    place, f"expected a component in step '{name}', found none; write `component: ./components/X.yml`"
                )
            ]
        )
    path = job.file.path.parent / named.removeprefix("file:")
    if not path.is_file():
        raise InvalidJobError(
            [
                Finding(
                    place, f"expected a component's file, found none at {named}; only files of this checkout run here"
                )
            ]
        )
    return _of_kind(step, place, _checked(ComponentSource(YamlFile(path.resolve()))))


def _of_kind(step: dict[str, Any], place: Place, component: ComponentSource) -> ComponentSource:
    """See that a component is what the step says it is, and that a pipeline component has a file of its own."""
    kind = "pipeline" if component.is_pipeline else "command"
    if step.get("type", kind) != kind:
        message = f"expected a component of `type: {step['type']}`, found one of `type: {kind}`; write that at the step"
        raise InvalidJobError([Finding(place, message)])
    if component.is_pipeline and component.keys:
        message = "expected a pipeline component in a file of its own, found one written into a step; move it to one"
        raise InvalidJobError([Finding(place, message)])
    return component


def _checked(component: ComponentSource) -> ComponentSource:
    """See that a component is of a kind that runs here, and its inputs and outputs are declared by name."""
    problems = []
    if component.data.get("type", "command") not in KINDS:
        found = component.data["type"]
        problems.append(
            Finding(
                component.place("type"),
                f"expected `type: command` or `type: pipeline`, found {found!r}; only those run here",
            )
        )
    for kind in ("inputs", "outputs"):
        declared = component.data.get(kind) or {}
        odd = (
            declared
            if not isinstance(declared, dict)
            else [n for n, port in declared.items() if not isinstance(port, dict)]
        )
        if odd:
            problems.append(
                Finding(
                    component.place(kind), f"expected `NAME: {{type: …}}` under `{kind}`, found {odd!r}; write that"
                )
            )
    if problems:
        raise InvalidJobError(problems)
    return component
