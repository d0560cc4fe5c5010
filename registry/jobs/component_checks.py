"""What is wrong in a component that the Azure SDK lets through: misspelled keys, defaults, paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from registry.jobs.command import GROUP, references
from registry.jobs.errors import Finding
from registry.jobs.settings import REMOTE, one_of
from registry.jobs.source import ComponentSource, JobSource, StepSource
from registry.jobs.values import is_data, problem


def check_component(component: ComponentSource) -> Iterator[Finding]:
    """Check what a component says of itself, and the code and the environment that it names."""
    if component.declared:
        yield from _unknown_keys(component)
        yield from _defaults(component)
        yield from _optional_inputs(component)
    if not component.is_pipeline:
        yield from _code(component)
        yield from _environment(component)


def check_step_keys(job: JobSource, step: StepSource) -> Iterator[Finding]:
    """Find keys of a step that Azure does not know; the SDK keeps them, and nothing reads them."""
    from azure.ai.ml._schema.pipeline.component_job import CommandSchema
    from azure.ai.ml._schema.pipeline.pipeline_component import PipelineSchema

    # The last four come with every step: it is made with them, though its schema does not list them.
    known = {*_keys(PipelineSchema if step.inner else CommandSchema), "name", "display_name", "description", "tags"}
    for key in step.data:
        if key not in known:
            yield Finding(
                job.place("jobs", step.name, key),
                f"step '{step.name}' has an unknown key '{key}'; {one_of(key, known)}",
            )


def _unknown_keys(component: ComponentSource) -> Iterator[Finding]:
    from azure.ai.ml._schema.component.command_component import CommandComponentSchema
    from azure.ai.ml._schema.component.input_output import InputPortSchema, OutputPortSchema, ParameterSchema
    from azure.ai.ml._schema.pipeline.pipeline_component import PipelineComponentSchema

    schema = PipelineComponentSchema if component.is_pipeline else CommandComponentSchema
    known = _keys(schema) - {"environment_variables"}
    for key in component.data:
        if key not in known:
            yield Finding(component.place(key), f"the component has an unknown key '{key}'; {one_of(key, known)}")
    for kind in ("inputs", "outputs"):
        for name, port in component.ports(kind).items():
            schema = OutputPortSchema if kind == "outputs" else InputPortSchema if is_data(port) else ParameterSchema
            for key in port:
                if key not in _keys(schema):
                    yield Finding(
                        component.place(kind, name, key),
                        f"{kind[:-1]} '{name}' has an unknown key '{key}'; {one_of(key, _keys(schema))}",
                    )


def _keys(schema: Any) -> set[str]:  # noqa: ANN401  the SDK comes without types
    return {field.data_key or name for name, field in schema._declared_fields.items() if not field.dump_only} | {
        "$schema"
    }


def _defaults(component: ComponentSource) -> Iterator[Finding]:
    for name, port in component.ports("inputs").items():
        wrong = None if port.get("default") is None or is_data(port) else problem(port["default"], port)
        if wrong:
            yield Finding(component.place("inputs", name, "default"), f"the default of input '{name}': {wrong}")


def _optional_inputs(component: ComponentSource) -> Iterator[Finding]:
    """Find optional inputs that the command cannot do without."""
    always = references(GROUP.sub("", str(component.data.get("command", ""))), "inputs")
    for name, port in component.ports("inputs").items():
        if name in always and port.get("optional") and port.get("default") is None:
            yield Finding(
                component.place("command"),
                f"the optional input '{name}' is named outside $[[ ]]; write $[[… ${{{{inputs.{name}}}}}]], "
                "which is left out when it has no value",
            )


def _code(component: ComponentSource) -> Iterator[Finding]:
    code = component.data.get("code")
    if isinstance(code, str) and not REMOTE.match(code) and not (component.folder / code).is_dir():
        yield Finding(
            component.place("code"), f"expected a folder of code, found none at {code}; name one that is there"
        )


def _environment(component: ComponentSource) -> Iterator[Finding]:
    named, place = component.data.get("environment"), component.place("environment")
    fix = "write `environment: file:…/environment/NAME/environment.yaml`"
    if named is None:
        yield Finding(place, f"expected an environment, found none; {fix}")
    elif not isinstance(named, str) or not named.startswith("file:"):
        yield Finding(place, f"expected an environment of this checkout, found {named!r}; {fix}")
    elif not (component.folder / named.removeprefix("file:")).is_file():
        yield Finding(place, f"expected an environment's file, found none at {named.removeprefix('file:')}; {fix}")
