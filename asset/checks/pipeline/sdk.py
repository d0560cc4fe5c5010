"""The Azure SDK's loader and validation of a job, without a workspace; what they refuse becomes findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asset.azure_sdk import Keys, RefusedError, advice, boundary, of_paths
from asset.checks.pipeline.source import JobSource
from asset.findings import Finding, InvalidFileError

if TYPE_CHECKING:
    from azure.ai.ml.entities import PipelineJob


def load(job: JobSource, overrides: list[dict[str, Any]]) -> PipelineJob:
    """Load and validate the job.

    Raises:
        InvalidFileError: the SDK refuses it.
    """
    # The SDK gives a mistake's place in the component alone, so the innermost component is loaded first.
    for part in reversed(list(job.walk())):
        loaded = load_part(part, overrides)
    return loaded


def load_part(part: JobSource, overrides: list[dict[str, Any]]) -> Any:  # noqa: ANN401  a job, or a component of one
    """Load a job or a pipeline component from its file, and validate it.

    Raises:
        InvalidFileError: the SDK refuses the file, or a file that it names.
    """
    try:
        with boundary():
            from azure.ai.ml import load_component, load_job

            path = str(part.file.path)
            loaded = load_component(path) if part.above else load_job(path, params_override=overrides)
            result = loaded._validate()
        if not result.passed:
            raise RefusedError(of_paths(result.error_messages))
    except RefusedError as exc:
        raise InvalidFileError(_finding(part, keys, text) for keys, text in exc.refusals) from exc
    return loaded


def _finding(job: JobSource, keys: Keys, message: str) -> Finding:
    from azure.ai.ml._schema.pipeline.pipeline_component import PipelineComponentSchema
    from azure.ai.ml._schema.pipeline.pipeline_job import PipelineJobSchema

    fix = advice(keys, message, PipelineComponentSchema if job.above else PipelineJobSchema)
    shown = f"{'.'.join(keys)}: " if keys else ""
    while keys[:1] == ("jobs",) and keys[2:3] == ("jobs",) and (inner := job.steps[keys[1]].inner):
        job, keys = inner, keys[2:]
    return Finding(job.place(*keys), f"the Azure SDK refuses it: {shown}{message}", fix, "azure-sdk")
