"""Settings such as `--set inputs.test_data.path=FILE`: they change inputs of a job or a step before it is run.

inputs.NAME=VALUE            a text, a number, true or false, as the input's type says
inputs.NAME.path=PATH        the path of data, relative to the current folder; a file turns a uri_folder into a uri_file;
                             an empty path leaves the input out
inputs.NAME.type=TYPE        the kind of the data, such as uri_file
jobs.STEP.inputs.NAME=…      the same for one step
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from asset.checks.pipeline.references import whole
from asset.checks.pipeline.source import REMOTE, JobSource
from asset.checks.pipeline.values import is_data, typed
from asset.findings import Finding, InvalidFileError, Place, one_of, problem

SETTING = re.compile(
    r"(?P<where>inputs|jobs\.(?P<step>[^.=]+)\.inputs)\.(?P<name>[^.=]+)(?:\.(?P<part>path|type))?=(?P<value>.*)",
    re.DOTALL,
)


def absolute(setting: str) -> str:
    """Write the path of a setting in full, so that it means the same from another folder."""
    match = SETTING.fullmatch(setting)
    if match is None or match["part"] != "path" or not match["value"] or REMOTE.match(match["value"]):
        return setting
    return f"{setting[: match.start('value')]}{os.path.abspath(Path(match['value']).expanduser())}"


def apply(job: JobSource, settings: Iterable[str]) -> list[dict[str, Any]]:
    """Change the job's data; return the changes in the form of the Azure SDK's `params_override`.

    Raises:
        InvalidFileError: a setting has another form, or names an input that the job or step does not have.
    """
    problems, overrides = [], {}
    for setting in settings:
        try:
            keys, value = _apply(job, absolute(setting), Place(f"--set {setting}"))
            overrides[".".join(keys)] = value
        except InvalidFileError as exc:
            problems += exc.findings
    if problems:
        raise InvalidFileError(problems)
    return [{keys: value} for keys, value in overrides.items()]


def _apply(job: JobSource, setting: str, place: Place) -> tuple[tuple[str, ...], Any]:
    match = SETTING.fullmatch(setting)
    if match is None:
        message = "expected inputs.NAME=VALUE, inputs.NAME.path=PATH or jobs.STEP.inputs.NAME=VALUE"
        raise _wrong(place, problem(message, "write that"))
    name, part, step = match["name"], match["part"], match["step"]
    if step is not None and step not in job.steps:
        raise _wrong(place, one_of(step, job.steps, f"the job has no step '{step}'"))
    holder = job.data if step is None else job.steps[step].data
    known, port = _known(job, step, name)
    if name not in known:
        owner = "the job" if step is None else f"step '{step}'"
        raise _wrong(place, one_of(name, known, f"{owner} has no input '{name}'"))
    keys = ("inputs", name) if step is None else ("jobs", step, "inputs", name)
    value: Any = match["value"]
    given = (holder.get("inputs") or {}).get(name)
    if part:
        value = {"type": port.get("type", "uri_folder"), **(given if isinstance(given, dict) else {}), part: value}
        by_hand = (*keys, "type") in job.set_by
        if part == "path" and value["type"] == "uri_folder" and not by_hand and Path(value["path"]).is_file():
            # A step that takes a folder of rows takes a file of rows too, but Azure refuses a file of type uri_folder.
            value["type"] = "uri_file"
    elif is_data(port):
        path, fix = ("", " to leave it out") if value in ("", "null") else ("PATH", "")
        fix = f"write --set {match['where']}.{name}.path={path}{fix}"
        raise _wrong(place, problem(f"'{name}' is data ({port['type']})", fix))
    else:
        value = typed(value, str(port.get("type", "string")).lower())
    holder["inputs"] = {**(holder.get("inputs") or {}), name: value}
    job.set_by[keys] = place
    if part == "type":
        job.set_by[(*keys, "type")] = place
    return keys, value


def _known(job: JobSource, step: str | None, name: str) -> tuple[list[str], dict[str, Any]]:
    """Return the names of the inputs of a job or a step, and the declaration of one of them."""
    if step is not None:
        component = job.steps[step].component
        ports = component.ports("inputs") if component.declared else _as_given(job.steps[step].given("inputs"))
        return list(ports), ports.get(name, {})
    ports = _as_given(job.ports("inputs"))
    port = ports.get(name, {})
    if name in ports and "type" not in (
        job.ports("inputs")[name] or {} if isinstance(job.ports("inputs")[name], dict) else {}
    ):
        port = _port_bound_to(job, name) or port
    return list(ports), port


def _as_given(inputs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return declarations of inputs, with the types of their values."""
    kinds = {bool: "boolean", int: "integer", float: "number"}
    return {
        name: {"type": value.get("type", "uri_folder")}
        if isinstance(value, dict)
        else {"type": kinds.get(type(value), "string")}
        for name, value in inputs.items()
    }


def _port_bound_to(job: JobSource, name: str) -> dict[str, Any] | None:
    """Return the declaration of a job's input by the first step that takes it."""
    for step in job.steps.values():
        for port_name, value in step.given("inputs").items():
            binding = whole(value)
            if step.component.declared and binding and binding.step is None and binding.name == name:
                return step.component.ports("inputs").get(port_name)
    return None


def _wrong(place: Place, finding: Finding) -> InvalidFileError:
    return InvalidFileError([finding.at(place, "setting")])
