"""Azure's own SDK on a job: its loader and its validation, without a workspace, and what they find as findings."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.jobs.errors import Finding, InvalidJobError
from registry.jobs.source import JobSource

if TYPE_CHECKING:
    from azure.ai.ml.entities import PipelineJob


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the SDK's notes on its own experimental classes, and on names of anonymous assets, from the terminal."""
    logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def load(job: JobSource, overrides: list[dict[str, Any]]) -> PipelineJob:
    """Load and validate the job.

    Raises:
        InvalidJobError: the SDK refuses it.
    """
    with quiet():
        from azure.ai.ml import load_component, load_job
        from azure.ai.ml.exceptions import MlException
        from marshmallow import ValidationError

        try:
            # A mistake in a pipeline component comes with its place in the component alone, so the innermost is first.
            for part in reversed(list(job.walk())):
                if part.above:
                    load_component(str(part.file.path))
                else:
                    loaded = load_job(str(part.file.path), params_override=overrides)
            part = job
            result = loaded._validate()
        except ValidationError as exc:
            raise InvalidJobError(_findings(part, exc.messages)) from exc
        except MlException as exc:
            raise InvalidJobError([Finding(job.place(), f"the Azure SDK refuses it: {exc.message}")]) from exc
    if not result.passed:
        raise InvalidJobError([_finding(job, path, text) for path, text in result.error_messages.items()])
    return loaded


def _findings(job: JobSource, messages: Any) -> list[Finding]:  # noqa: ANN401  marshmallow's are lists or dicts
    """Turn the SDK's two forms of message into findings: a JSON object in a text, or a dict by key."""
    if isinstance(messages, dict):
        return [_finding(job, path, text) for path, text in _flat(messages, "")]
    text = "\n".join(map(str, messages))
    with contextlib.suppress(ValueError, KeyError, TypeError):
        found, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
        return [_finding(job, error["path"], error["message"]) for error in found["errors"]]
    return [_finding(job, "*", text)]


def _flat(messages: dict[Any, Any], above: str) -> Iterator[tuple[str, str]]:
    for key, value in messages.items():
        path = f"{above}.{key}".removeprefix(".")
        if isinstance(value, dict):
            yield from _flat(value, path)
        else:
            yield path, "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def _finding(job: JobSource, path: str, message: str) -> Finding:
    keys = () if path == "*" else tuple(path.split("."))
    shown = f"{path}: " if keys else ""
    while keys[:1] == ("jobs",) and keys[2:3] == ("jobs",) and (inner := job.steps[keys[1]].inner):
        job, keys = inner, keys[2:]
    return Finding(job.place(*keys), f"the Azure SDK refuses it: {shown}{message}")


def source_path(environment: object) -> Path:
    """Return the file that an environment of a loaded component was read from."""
    return Path(str(environment._source_path))  # type: ignore[attr-defined]  the SDK has no public name for it
