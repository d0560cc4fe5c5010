"""What is wrong in a component that the Azure SDK lets through: misspelled keys, defaults, paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from asset.checks.pipeline.command import GROUP, references
from asset.checks.pipeline.source import REMOTE, ComponentSource, JobSource, StepSource, is_file, is_folder
from asset.checks.pipeline.values import bounds_problem, is_data, type_problem, value_problem
from asset.findings import ELSEWHERE, Finding, one_of


def check_component(component: ComponentSource) -> Iterator[Finding]:
    """Check a component's declarations, and the code and the environment that it names."""
    if component.declared:
        yield from _unknown_keys(component)
        yield from _types(component)
        yield from _defaults(component)
        yield from _optional_inputs(component)
    if not component.is_pipeline:
        yield from _code(component)
        yield from _environment(component)


def check_step_keys(job: JobSource, step: StepSource) -> Iterator[Finding]:
    """Find keys of a step that Azure does not know; the SDK keeps such keys, and nothing reads them."""
    from azure.ai.ml._schema.pipeline.component_job import CommandSchema
    from azure.ai.ml._schema.pipeline.pipeline_component import PipelineSchema

    # Every step may have the last four, though its schema does not list them.
    known = {*_keys(PipelineSchema if step.inner else CommandSchema), "name", "display_name", "description", "tags"}
    for key in step.data:
        if key not in known:
            about = f"step '{step.name}' has an unknown key '{key}'"
            yield one_of(key, sorted(known), about).at(job.place("jobs", step.name, str(key)), "unknown-key")


def _unknown_keys(component: ComponentSource) -> Iterator[Finding]:
    from azure.ai.ml._schema.component.command_component import CommandComponentSchema
    from azure.ai.ml._schema.component.input_output import InputPortSchema, OutputPortSchema, ParameterSchema
    from azure.ai.ml._schema.pipeline.pipeline_component import PipelineComponentSchema

    schema = PipelineComponentSchema if component.is_pipeline else CommandComponentSchema
    known = _keys(schema) - {"environment_variables"}
    for key in component.data:
        if key not in known:
            about = f"the component has an unknown key '{key}'"
            yield one_of(key, sorted(known), about).at(component.place(str(key)), "unknown-key")
    for kind in ("inputs", "outputs"):
        for name, port in component.ports(kind).items():
            schema = OutputPortSchema if kind == "outputs" else InputPortSchema if is_data(port) else ParameterSchema
            for key in port:
                if key not in _keys(schema):
                    wrong = one_of(key, sorted(_keys(schema)), f"{kind[:-1]} '{name}' has an unknown key '{key}'")
                    yield wrong.at(component.place(kind, name, str(key)), "unknown-key")


def _keys(schema: Any) -> set[str]:  # noqa: ANN401  the SDK comes without types
    return {field.data_key or name for name, field in schema._declared_fields.items() if not field.dump_only} | {
        "$schema"
    }


def _types(component: ComponentSource) -> Iterator[Finding]:
    for kind in ("inputs", "outputs"):
        for name, port in component.ports(kind).items():
            if wrong := type_problem(port):
                yield wrong.at(component.place(kind, name, "type"), "port-type", f"the type of {kind[:-1]} '{name}'")


def _defaults(component: ComponentSource) -> Iterator[Finding]:
    for name, port in component.ports("inputs").items():
        if is_data(port):
            continue
        if bounds := bounds_problem(port):
            key, wrong = bounds
            yield wrong.at(component.place("inputs", name, key), "port-bounds", f"the {key} of input '{name}'")
        elif port.get("default") is not None and (unfit := value_problem(port["default"], port)):
            yield unfit.at(
                component.place("inputs", name, "default"), "default-value", f"the default of input '{name}'"
            )


def _optional_inputs(component: ComponentSource) -> Iterator[Finding]:
    """Find optional inputs that the command always uses."""
    always = references(GROUP.sub("", str(component.data.get("command", ""))), "inputs")
    for name, port in component.ports("inputs").items():
        if name in always and port.get("optional") and port.get("default") is None:
            message = f"the optional input '{name}' is named outside $[[ ]]"
            fix = f"write $[[… ${{{{inputs.{name}}}}}]], which is left out when it has no value"
            yield Finding(component.place("command"), message, fix, "optional-input")


def _code(component: ComponentSource) -> Iterator[Finding]:
    code = component.data.get("code")
    if isinstance(code, str) and not REMOTE.match(code) and not is_folder(component.folder / code):
        message = f"expected a folder of code, found none at {code}"
        yield Finding(component.place("code"), message, "name one that is there", "code-folder")


def _environment(component: ComponentSource) -> Iterator[Finding]:
    named, place = component.data.get("environment"), component.place("environment")
    fix = "write `environment: file:…/environment/NAME/environment.yaml`"
    if named is None:
        yield Finding(place, "expected an environment, found none", fix, "no-environment")
    elif isinstance(named, dict) or (isinstance(named, str) and REMOTE.match(named)):
        yield Finding(place, f"expected an environment of this checkout, found {named!r}", fix, ELSEWHERE)
    elif not isinstance(named, str) or not named.startswith("file:"):
        message = f"expected an environment of this checkout, found {named!r}"
        yield Finding(place, message, fix, "environment-prefix")
    elif not is_file(component.folder / named.removeprefix("file:")):
        message = f"expected an environment's file, found none at {named.removeprefix('file:')}"
        yield Finding(place, message, fix, "environment-file")
