"""`asset submit`: submit a pipeline job to Azure, from the file that `asset run` runs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asset.cli.loop import AsJson, ResourceGroup, Result, Subscription, Where, Workspace, perform
from asset.screen import Screen


def submit(
    file: Annotated[Path, typer.Option("--file", "-f", help="The job: the YAML file of an Azure ML pipeline job.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change an input, as for `asset run`.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Follow the job's log to its end.")] = False,
    subscription: Subscription = None,
    resource_group: ResourceGroup = None,
    workspace: Workspace = None,
    as_json: AsJson = False,
) -> None:
    """Submit a job to Azure, from the file that `asset run` runs on this machine.

    The file and the settings are checked before anything is sent.

    Exit status: 0 if the job is submitted (with --stream: if it finished), 1 if it failed, 2 if nothing was submitted, 130
    if it was interrupted.

    **Examples**

        asset submit -f evaluation/evaluate-model-fill-mask.yml --stream

        asset submit -f finetune/finetune-sentiment.yml --set inputs.num_train_epochs=3 --workspace mine
    """
    where = Where(True, None, subscription, resource_group, workspace)
    perform(lambda screen: _submit(screen, file, settings or [], stream, where), as_json)


def _submit(screen: Screen, file: Path, settings: list[str], stream: bool, where: Where) -> Result:
    from asset.checks.pipeline import sdk
    from asset.checks.pipeline.overrides import absolute, apply
    from asset.checks.pipeline.source import read_job

    # Mistakes in the file and in the settings come before the sign-in.
    source = read_job(file)
    job = sdk.load(source, apply(source, map(absolute, settings)))
    client = where.client()
    screen.say(f"submitting {file.name}; data and code of this machine are uploaded")
    submitted = client.jobs.create_or_update(job)
    screen.say(f"job {submitted.name}: {submitted.status}")
    if submitted.studio_url:
        screen.say(f"watch it at {submitted.studio_url}")
    if stream:
        client.jobs.stream(submitted.name)
    return Result({"name": submitted.name, "job_status": submitted.status, "studio_url": submitted.studio_url})
