"""Pipeline jobs and components: the checks of `asset run`, for what Azure runs as well as for what runs here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asset.azure_sdk import RefusedError, boundary, finding, of_paths, quiet
from asset.checks.pipeline.components import check_component
from asset.checks.pipeline.data import local_path
from asset.checks.pipeline.job import find
from asset.checks.pipeline.references import bound, own_input, plain, whole
from asset.checks.pipeline.sdk import load_part
from asset.checks.pipeline.source import JobSource, StepSource, is_file, read_component, read_job
from asset.checks.validate import evaluation_files
from asset.checks.validate.asset_folder import AssetFolder, unsuitable_machine
from asset.findings import ELSEWHERE, Finding, InvalidFileError, Place
from asset.yaml_file import YamlFile


def check_job(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check a pipeline job, the components that it names, and the files that it gives them."""
    try:
        job = read_job(file.path, asset.read)
    except InvalidFileError as exc:
        yield from exc.findings
        if all(one.rule == ELSEWHERE for one in exc.findings):
            yield from _refused_part(JobSource(file, file.data), asset)
        return
    with quiet():
        found = find(job, asset.own)
    yield from found
    yield from _machines(job, asset)
    yield from _files(job, asset)
    yield from _refused(job, asset)


def check_component_file(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check a command component or a pipeline component, and the components that it names."""
    try:
        step = read_component(file.path, asset.read)
    except InvalidFileError as exc:
        yield from exc.findings
        if all(one.rule == ELSEWHERE for one in exc.findings):
            yield from _refused_component(file, asset)
        return
    yield from _schema(file, step)
    with quiet():
        yield from list(check_component(step.component))
        if step.inner is not None:
            yield from find(step.inner, asset.own)
    if step.inner is None:
        yield from _refused_component(file, asset)
        return
    yield from _machines(step.inner, asset)
    yield from _refused(step.inner, asset)


def _schema(file: YamlFile, step: StepSource) -> Iterator[Finding]:
    """Check that `$schema` and `type` agree: the SDK reads `type`, and an editor reads `$schema`."""
    kind = "pipeline" if step.component.is_pipeline else "command"
    other = "command" if kind == "pipeline" else "pipeline"
    if f"/{other}Component.schema.json" in str(file.data.get("$schema")):
        message = f"expected the schema of a component of `type: {kind}`, found that of a {other} component"
        yield Finding(
            file.place("$schema"), message, f"write {kind}Component.schema.json, or change the type", "schema-type"
        )


def _refused(job: JobSource, asset: AssetFolder) -> list[Finding]:
    """Return what the SDK refuses in a job or a pipeline component, or in the innermost component that it refuses.

    A refused component is refused again in each file that names it, at another place.
    """
    for part in reversed(list(job.walk())):
        own_files = [
            step.component.file
            for step in part.steps.values()
            if step.inner is None and step.component.declared and not step.component.keys
        ]
        refused = [one for file in own_files for one in _refused_component(file, asset)]
        if refused := refused or _refused_part(part, asset):
            return refused
    return []


def _refused_part(part: JobSource, asset: AssetFolder) -> list[Finding]:
    path = part.file.path.resolve()
    if path not in asset.refused:
        try:
            load_part(part, [])
            asset.refused[path] = []
        except InvalidFileError as exc:
            asset.refused[path] = exc.findings
    return asset.refused[path]


def _refused_component(file: YamlFile, asset: AssetFolder) -> list[Finding]:
    path, refusals, schema = file.path.resolve(), [], None
    if path not in asset.refused:
        try:
            with boundary():
                from azure.ai.ml import load_component
                from azure.ai.ml._schema.component.command_component import CommandComponentSchema as schema

                refusals = of_paths(load_component(str(path))._validate().error_messages)
        except RefusedError as exc:
            refusals = exc.refusals
        asset.refused[path] = [finding(file, keys, text, schema) for keys, text in refusals]
    return asset.refused[path]


def _machines(job: JobSource, asset: AssetFolder) -> Iterator[Finding]:
    """Find machines of steps that are not in the asset's lists for jobs."""
    lists = [asset.skus[name] for name in ("evaluation", "finetune") if name in asset.skus]
    known = dict.fromkeys(machine for one in lists for machine in one.allow_list)
    for part in job.walk() if known else ():
        for step in part.steps.values():
            for name, place in _machine(part, step):
                if wrong := unsuitable_machine(name, known, "the lists for evaluation and fine-tuning"):
                    yield wrong.at(place, "sku", f"step '{part.full(step.name)}'")


def _machine(job: JobSource, step: StepSource) -> Iterator[tuple[str, Place]]:
    """Yield the machine that a step asks for, and the place where it is written."""
    for holder, place in (
        (step.data, job.place("jobs", step.name, "resources", "instance_type")),
        (step.component.data, step.component.place("resources", "instance_type")),
    ):
        resources = holder.get("resources") if step.inner is None else None
        value: Any = resources.get("instance_type") if isinstance(resources, dict) else None
        binding = whole(value)
        if binding is not None and binding.kind == "inputs" and binding.step is None:
            given = own_input(job, binding.name)
            value, place = plain(given.value), given.place
        if isinstance(value, str) and value and not bound(value):
            yield value, place


def _files(job: JobSource, asset: AssetFolder) -> Iterator[Finding]:
    """Check the evaluation settings and the tables that a job gives to its steps."""
    for name, value in job.ports("inputs").items():
        path = _given_path(value, job.file.path.parent, asset)
        if path is None:
            continue
        if name == "evaluation_config" and is_file(path):
            yield from evaluation_files.check_evaluation_config(path, asset)
        if value.get("type") == "mltable":
            place = job.place("inputs", name, "path")
            if not is_file(path / "MLTable"):
                message = f"expected a file MLTable in {value['path']}, found none"
                yield Finding(place, message, "write one, or name the data as `type: uri_folder`", "mltable-file")
                continue
            try:
                yield from evaluation_files.check_table(asset.read(path / "MLTable"), asset)
            except InvalidFileError as exc:
                yield from exc.findings


def _given_path(value: object, folder: Path, asset: AssetFolder) -> Path | None:
    """Return the path on this machine of a job's input; None if the input is not data of this machine."""
    path = value.get("path") if isinstance(value, dict) else None
    if not isinstance(path, str) or not path or bound(path):
        return None
    try:
        return local_path(path, folder, asset.own)
    except (OSError, ValueError):
        return None
