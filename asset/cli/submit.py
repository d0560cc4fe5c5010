"""`asset submit`: a pipeline job to Azure, from the file that `asset run` runs here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from asset.cli.loop import Where, run


@dataclass(frozen=True)
class SubmitOptions:
    """What `asset submit` was asked for."""

    file: Path
    settings: list[str] = field(default_factory=list)
    stream: bool = False
    where: Where = Where(azure=True)
    as_json: bool = False


def submit(options: SubmitOptions) -> int:
    """Submit a job; return the exit status: 0, 1 it failed, 2 nothing was submitted, 130 interrupted."""
    return run(lambda console: _submit(options, console), options.as_json)


def _submit(options: SubmitOptions, console: Console) -> dict[str, Any]:
    from asset.checks.pipeline import sdk
    from asset.checks.pipeline.overrides import absolute, apply
    from asset.checks.pipeline.source import read_job

    # What is wrong in the file or in a setting is told before anybody signs in.
    source = read_job(options.file)
    job = sdk.load(source, apply(source, map(absolute, options.settings)))
    client = options.where.client()
    console.print(f"submitting {options.file.name}; data and code of this machine are uploaded", soft_wrap=True)
    submitted = client.jobs.create_or_update(job)
    console.print(f"job {submitted.name}: {submitted.status}", soft_wrap=True)
    if submitted.studio_url:
        console.print(f"watch it at {submitted.studio_url}", soft_wrap=True)
    if options.stream:
        client.jobs.stream(submitted.name)
    return {"name": submitted.name, "job_status": submitted.status, "studio_url": submitted.studio_url}
