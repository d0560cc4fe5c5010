"""All checks of a job's file: first the checks here, which name lines and fixes, then those of the Azure SDK."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from asset.azure_sdk import quiet
from asset.checks.pipeline import sdk
from asset.checks.pipeline.components import check_component, check_step_keys
from asset.checks.pipeline.data import OwnModel, check_data
from asset.checks.pipeline.overrides import apply
from asset.checks.pipeline.source import JobSource, read_job
from asset.checks.pipeline.steps import check_order, check_outputs, check_settings, check_step, check_types
from asset.findings import Finding, InvalidFileError

if TYPE_CHECKING:
    from azure.ai.ml.entities import PipelineJob


def checked_job(path: Path, settings: Iterable[str], own: OwnModel) -> tuple[JobSource, PipelineJob]:
    """Read a job's file and apply settings; return the job, and the job as the SDK loads it.

    Raises:
        InvalidFileError: something in it, in a component or in a setting is wrong.
    """
    job = read_job(path)
    overrides = apply(job, settings)
    with quiet():
        findings = find(job, own)
    if findings:
        raise InvalidFileError(findings)
    return job, sdk.load(job, overrides)


def find(job: JobSource, own: OwnModel) -> list[Finding]:
    """Return the findings about a job or a pipeline component, each once: several steps may share a component."""
    found: list[Finding] = []
    for step in job.steps.values():
        found += check_step_keys(job, step)
        found += check_component(step.component)
        found += check_step(job, step)
        found += check_settings(job, step)
        found += find(step.inner, own) if step.inner else []
    found += check_types(job)
    found += check_order(job)
    found += check_outputs(job)
    found += check_data(job, own)
    return list(dict.fromkeys(found))
