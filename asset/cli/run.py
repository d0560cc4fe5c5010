"""`asset run`: run a pipeline job of Azure ML on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asset.cli.loop import DONE, FAILED, INTERRUPTED, AsJson, Result, State, perform, state_folder
from asset.screen import Screen

if TYPE_CHECKING:
    from asset.local.jobs.plan import Plan
    from asset.local.jobs.run_folder import RunFolder, RunState


def run(
    name: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="With --resume: the name of the run. Default: the run started last."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="The job: the YAML file of an Azure ML pipeline job.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Change an input: `inputs.NAME=VALUE`, `inputs.NAME.path=PATH` (from the current folder), or for one step "
            "`jobs.STEP.inputs.NAME=VALUE`. Repeat it for more.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue a run: keep its finished steps, go on with its first unfinished step."),
    ] = False,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Run an Azure ML pipeline job on this machine, from the file that Azure runs.

    The job and its components are checked first, by the Azure SDK and for mistakes that the SDK lets through. Then each
    step runs as a process in the virtual environment that stands for its image (environment/evaluation is
    .venv/evaluation), with inputs, outputs, optional groups and distribution as on Azure. Inputs, outputs, logs and exit
    statuses are kept in .asset/runs/NAME, and in MLflow: see `asset ui`.

    Exit status: 0 if all steps finished, 1 if a step failed, 2 if nothing was run, 130 if it was interrupted.

    **Examples**

        asset run -f evaluation/evaluate-model-fill-mask.yml

        asset run -f evaluation/evaluate-model-fill-mask.yml --set inputs.test_data.path=cloze.jsonl
            --set inputs.mlflow_model.path=model/embedded --set inputs.precision=fp32

        asset run --resume                                      # the run started last

        asset run --resume evaluate-model-fill-mask-20261121-183000
    """
    perform(
        lambda screen: _run(screen, file, settings or [], resume, name, state),
        as_json,
        "interrupted before a step ran",
    )


def _run(
    screen: Screen, file: Path | None, settings: list[str], resume: bool, name: str | None, asset_dir: Path | None
) -> Result:
    """Run or continue a job. From the moment that it has a folder, `--json` describes the run however it ends."""
    from asset.local.jobs import summary
    from asset.local.jobs.run_folder import INTERRUPTED as INTERRUPTED_RUN

    plan, folder, settings = _begin(screen, file, settings, resume, name, state_folder(asset_dir))
    resume_command = summary.resume_command(folder, asset_dir)
    try:
        with folder.lock():
            # Another process may have changed the state since it was read. Until a step starts, the run is interrupted.
            state = replace(folder.read(), settings=settings, status=INTERRUPTED_RUN)
            folder.write(state)
            return _run_steps(screen, plan, folder, state, asset_dir)
    except KeyboardInterrupt:
        screen.errors.print("interrupted; all of its processes have ended", style="bold red")
        summary.show_way_on(screen.errors, folder, resume_command)
        return Result(summary.as_json(folder.read(), folder, resume_command), status=INTERRUPTED)
    except OSError as exc:
        message = f"cannot go on: {exc}"
        screen.errors.print(message, markup=False, soft_wrap=True)
        answer = summary.as_json(folder.read(), folder, resume_command)
        return Result(answer | {"status": "failed", "message": message}, status=FAILED)


def _begin(
    screen: Screen, file: Path | None, settings: list[str], resume: bool, name: str | None, state: Path
) -> tuple[Plan, RunFolder, list[str]]:
    """Check all that can be checked before a step runs; return the plan, the run's folder and the settings."""
    from asset.checks.pipeline.data import OwnModel, quoted
    from asset.checks.pipeline.job import checked_job
    from asset.checks.pipeline.overrides import absolute
    from asset.local.jobs.errors import RunError
    from asset.local.jobs.plan import plan_job
    from asset.local.jobs.run_folder import INTERRUPTED as INTERRUPTED_RUN
    from asset.local.jobs.run_folder import RunFolder, RunState, find_run, now
    from asset.local.jobs.runner import require_commands, require_environments

    if quoted(state.resolve()):
        raise RunError(
            f"the folder of local state, {state}, has quotation marks in its path; choose one with --asset-dir"
        )
    folder, earlier = None, None
    if resume:
        folder = find_run(state / "runs", name, file.resolve() if file else None)
        earlier = folder.read()
        file = file or Path(earlier.job_file)
        settings = [*earlier.settings, *map(absolute, settings)]
    elif name is not None:
        raise RunError(f"the name of a run, {name}, needs --resume before it; write --resume {name}")
    else:
        settings = list(map(absolute, settings))
    if file is None:
        raise RunError("there is no job to run; name its file, as in `asset run -f evaluation/JOB.yml`")
    own = OwnModel.read()
    plan = plan_job(*checked_job(file, settings, own), own)
    require_environments(plan)
    require_commands(plan)
    for warning in plan.warnings:
        screen.note(f"warning: {warning}", "yellow")
    if folder is None:
        folder = RunFolder.create(state / "runs", plan.job_file.stem)
        folder.write(RunState(folder.path.name, str(plan.job_file), settings, now(), INTERRUPTED_RUN))
    return plan, folder, settings


def _run_steps(screen: Screen, plan: Plan, folder: RunFolder, state: RunState, asset_dir: Path | None) -> Result:
    from asset.findings import shown
    from asset.local.jobs import summary
    from asset.local.jobs.errors import StepError
    from asset.local.jobs.runner import Runner
    from asset.local.jobs.tracking import Tracker, database

    resume = summary.resume_command(folder, asset_dir)
    screen.note(f"run {state.name}: {len(plan.steps)} steps ({' -> '.join(step.name for step in plan.steps)})")
    if not database(folder.state).exists():
        screen.note("setting up MLflow's store, once; this takes some seconds", "dim")
    tracker = Tracker(folder.state, plan.experiment, lambda text: screen.note(f"warning: {text}", "yellow"))
    try:
        Runner(plan, folder, state, tracker, screen).run()
    except StepError as exc:
        summary.show_failed(screen.errors, exc, state, folder, resume)
        return Result(summary.as_json(state, folder, resume, exc), status=FAILED)
    summary.show_finished(screen.console, state)
    screen.note(f"finished. The run is kept in {shown(folder.path)}; look at it with `{summary.ui_command(asset_dir)}`")
    return Result(summary.as_json(state, folder, resume), status=DONE)
