"""A job's file and the files of its components as they are written, each value with its place.

A pipeline component has steps of its own; it is a job too, below the step that names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asset.checks.kinds import Kind, yaml_kind
from asset.findings import ELSEWHERE, Finding, InvalidFileError, Place
from asset.yaml_file import Keys, YamlFile

KINDS = ("command", "pipeline")
"""The types of steps and components that run here."""

REMOTE = re.compile(r"azureml:|\w[\w+.-]+://")
"""The start of a path that is not on this machine."""


Opened = Callable[[Path], YamlFile]


@dataclass(frozen=True)
class ComponentSource:
    """A component, which a step runs: in its own file, or written into the job's file."""

    file: YamlFile
    keys: Keys = ()
    declared: bool = True
    """True if the component declares inputs and outputs; a command written into a step takes any input of the step."""

    @property
    def data(self) -> dict[str, Any]:
        """Return the component's keys and values."""
        found = self.file.data
        for key in self.keys:
            found = found[key]
        return found

    @property
    def folder(self) -> Path:
        """Return the folder from which relative paths start."""
        return self.file.path.parent

    @property
    def is_pipeline(self) -> bool:
        """Decide if the component is made of steps."""
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
    """The steps inside, if the component is a pipeline component."""

    def given(self, kind: str) -> dict[str, Any]:
        """Return the values under the step's "inputs" or "outputs", by name."""
        return self.data.get(kind) or {}


@dataclass
class JobSource:
    """The content of a job's file with the changes of `--set`, or of a pipeline component for a step of `above`.

    `name` is empty for the job, and the name of the step for a pipeline component.
    """

    file: YamlFile
    data: dict[str, Any]
    steps: dict[str, StepSource] = field(default_factory=dict)
    set_by: dict[Keys, Place] = field(default_factory=dict)
    above: JobSource | None = None
    name: str = ""
    opened: Opened = YamlFile
    """The function that reads a named file."""

    @property
    def called(self) -> str:
        """Return the words for it in messages."""
        return "the job" if self.above is None else "the pipeline component"

    def full(self, step: str) -> str:
        """Return a step's name after the names of the steps around it: finetune.train."""
        return step if self.above is None else f"{self.above.full(self.name)}.{step}"

    def ports(self, kind: str) -> dict[str, Any]:
        """Return the "inputs" or "outputs" by name: values of a job, declarations of a pipeline component."""
        return self.data.get(kind) or {}

    def walk(self) -> Iterator[JobSource]:
        """Yield this job and the pipeline components below it."""
        yield self
        for step in self.steps.values():
            if step.inner is not None:
                yield from step.inner.walk()

    def place(self, *keys: str) -> Place:
        """Return the place of a part of the job: a line of the file, or the option that set the part."""
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.set_by:
                return self.set_by[keys[:end]]
        return self.file.place(*keys)


def read_job(path: Path, opened: Opened = YamlFile) -> JobSource:
    """Read a job file and the component files that it names.

    Raises:
        InvalidFileError: a file is missing or not YAML, or the job is not a pipeline job of commands and pipeline
            components.
    """
    file = _open(path, opened)
    if (kind := yaml_kind(file)) not in (None, Kind.PIPELINE_JOB):
        message = f"this is the file of a different kind ({kind}), not of a pipeline job"
        key = "$schema" if "$schema" in file.data else "type"
        raise _invalid(file.place(key), message, "name the file of a pipeline job", "job-type")
    return _read_steps(JobSource(file, file.data, opened=opened))


def read_component(path: Path, opened: Opened = YamlFile) -> StepSource:
    """Read a component's file and the files that it names, as the only step of a job, without inputs.

    Raises:
        InvalidFileError: as for read_job.
    """
    component = _checked(ComponentSource(_open(path, opened)))
    name = path.stem
    data = {"component": path.name}
    if not component.is_pipeline:
        return StepSource(name, data, component)
    above = JobSource(component.file, {})
    inner = JobSource(component.file, component.data, above=above, name=name, opened=opened)
    above.steps[name] = StepSource(name, data, component, inner)
    _read_steps(inner)
    return above.steps[name]


def _open(path: Path, opened: Opened) -> YamlFile:
    try:
        return opened(path.resolve())
    except InvalidFileError:
        raise
    except RuntimeError as exc:  # pathlib's error for links that lead to themselves
        message = "this is no YAML file: its links lead in a circle"
        raise InvalidFileError([Finding(Place.in_file(path, 1), message, "name a file", "yaml-file")]) from exc


def _read_steps(job: JobSource) -> JobSource:
    problems = list(_shape(job))
    if not problems:
        for name, step in job.data["jobs"].items():
            try:
                job.steps[name] = _step(job, name, step)
            except InvalidFileError as exc:
                problems += exc.findings
    if problems:
        raise InvalidFileError(problems)
    return job


def _step(job: JobSource, name: str, step: dict[str, Any]) -> StepSource:
    component = _component(job, name, step)
    if not component.is_pipeline:
        return StepSource(name, step, component)
    around: JobSource | None = job
    while around is not None:
        if around.data and around.file.path == component.file.path:
            message = f"expected a component without itself in it, found {step['component']} in itself"
            raise _invalid(job.place("jobs", name, "component"), message, "cut the circle", "component-circle")
        around = around.above
    inner = JobSource(component.file, component.data, above=job, name=name, opened=job.opened)
    return StepSource(name, step, component, _read_steps(inner))


def _shape(job: JobSource) -> Iterator[Finding]:
    """Find parts that are not mappings; all other checks need the mappings."""
    if job.data.get("type") != "pipeline":
        found = repr(job.data.get("type", "no type"))
        message = f"expected `type: pipeline`, found {found}"
        yield Finding(job.place("type"), message, "write the command as a step of one", "job-type")
        return
    steps = job.data.get("jobs")
    if steps is None and isinstance(job.data.get("component"), str):
        message = "expected steps under `jobs`, found a component"
        yield Finding(job.place("component"), message, "name it in a step, as only those run here", ELSEWHERE)
        return
    if not isinstance(steps, dict) or not steps:
        message = "expected steps under `jobs`, found none"
        yield Finding(job.place("jobs"), message, "write one (as in `predict: …`)", "no-steps")
        return
    parts = [(("inputs",), job.data), (("outputs",), job.data)]
    for name, step in steps.items():
        place = job.place("jobs", str(name))
        if not isinstance(name, str):
            yield Finding(place, f"expected a text for the name of a step, found {name!r}", "quote it", "step-name")
        elif not isinstance(step, dict):
            message = f"expected keys and values for step '{name}', found {step!r}"
            yield Finding(place, message, "write `type`, `component` and `inputs`", "step-mapping")
        else:
            parts += [(("jobs", name, kind), step) for kind in ("inputs", "outputs")]
            yield from _step_type(job, name, step.get("type", "command"))
    for keys, holder in parts:
        if not _is_named(holder.get(keys[-1]) or {}):
            message = f"expected names and values under `{keys[-1]}`, found something else"
            yield Finding(job.place(*keys), message, "write `NAME: VALUE`", "names-and-values")


def _is_named(holder: Any) -> bool:  # noqa: ANN401  what YAML holds
    return isinstance(holder, dict) and all(isinstance(name, str) for name in holder)


def _step_type(job: JobSource, name: str, kind: object) -> Iterator[Finding]:
    if kind not in KINDS:
        message = f"expected `type: command` or `type: pipeline` in step '{name}', found {kind!r}"
        fix = "only commands and pipeline components run here"
        yield Finding(job.place("jobs", name, "type"), message, fix, ELSEWHERE)


def _component(job: JobSource, name: str, step: dict[str, Any]) -> ComponentSource:
    named, place = step.get("component"), job.place("jobs", name, "component")
    if isinstance(named, dict):
        return _of_kind(step, place, _checked(ComponentSource(job.file, ("jobs", name, "component"))))
    if named is None and "command" in step:
        return ComponentSource(job.file, ("jobs", name), declared=False)
    if not isinstance(named, str):
        message = f"expected a component in step '{name}', found none"
        raise _invalid(place, message, "write `component: ./components/X.yml`", "no-component")
    if REMOTE.match(named):
        message = f"expected a component's file, found {named}"
        raise _invalid(place, message, "only files of this checkout run here", ELSEWHERE)
    path = job.file.path.parent / named.removeprefix("file:")
    if not is_file(path):
        message = f"expected a component's file, found none at {named}"
        raise _invalid(place, message, "name one of this checkout, as only those run here", "component-file")
    return _of_kind(step, place, _checked(ComponentSource(_open(path, job.opened))))


def _of_kind(step: dict[str, Any], place: Place, component: ComponentSource) -> ComponentSource:
    """Check that a component has the type that its step says, and that a pipeline component has its own file."""
    kind = "pipeline" if component.is_pipeline else "command"
    if step.get("type", kind) != kind:
        message = f"expected a component of `type: {step['type']}`, found one of `type: {kind}`"
        raise _invalid(place, message, "write that at the step", "component-type")
    if component.is_pipeline and component.keys:
        message = "expected a pipeline component in a file of its own, found one written into a step"
        raise _invalid(place, message, "move it to one", "component-type")
    return component


def _checked(component: ComponentSource) -> ComponentSource:
    """Check that a component is of a type that runs here, and that its inputs and outputs are declared by name."""
    problems = []
    found = component.data.get("type", "command")
    if found not in KINDS:
        message = f"expected `type: command` or `type: pipeline`, found {found!r}"
        problems.append(Finding(component.place("type"), message, "only those run here", ELSEWHERE))
    for kind in ("inputs", "outputs"):
        declared = component.data.get(kind) or {}
        odd = declared if not _is_named(declared) else [n for n, port in declared.items() if not isinstance(port, dict)]
        if odd:
            place = component.place(kind, odd[0]) if _is_named(declared) else component.place(kind)
            message = f"expected `NAME: {{type: …}}` under `{kind}`, found {odd!r}"
            problems.append(Finding(place, message, "write that", "port-mapping"))
    if problems:
        raise InvalidFileError(problems)
    return component


def is_file(path: Path) -> bool:
    """Decide if there is a file; False also for a path that no system can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Decide if there is a folder; False also for a path that no system can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _invalid(place: Place, message: str, fix: str, rule: str) -> InvalidFileError:
    return InvalidFileError([Finding(place, message, fix, rule)])
