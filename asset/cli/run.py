"""`asset run`: a pipeline job of Azure ML, on this machine."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from asset.checks.pipeline.data import OwnModel, quoted
from asset.checks.pipeline.errors import InvalidJobError, JobError, RunError, StepError
from asset.checks.pipeline.job import checked_job
from asset.checks.pipeline.overrides import absolute
from asset.environments import ROOT
from asset.findings import shown
from asset.local.jobs import summary
from asset.local.jobs.plan import Plan, plan_job
from asset.local.jobs.run_folder import INTERRUPTED as INTERRUPTED_STATUS
from asset.local.jobs.run_folder import RunFolder, RunState, find_run, now
from asset.local.jobs.runner import Runner, require_commands, require_environments
from asset.local.jobs.tracking import Tracker, database
from asset.screen import SafeStream, Screen, interrupt_on_signals, safe_console

FAILED, INVALID, INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class RunOptions:
    """What `asset run` was asked for. `state` is the folder of local state, None for the checkout's own .asset."""

    file: Path | None = None
    settings: list[str] = field(default_factory=list)
    resume: bool = False
    run: str | None = None
    state: Path | None = None
    as_json: bool = False


def run(options: RunOptions) -> int:
    """Run or continue a job; return the exit status: 0, 1 a step failed, 2 nothing was run, 130 it was interrupted."""
    # With --json, standard output is the one object at the end.
    errors = safe_console(sys.stderr)
    console = errors if options.as_json else safe_console(sys.stdout)
    state_folder = (options.state or ROOT / ".asset").absolute()
    folder: RunFolder | None = None
    restore = interrupt_on_signals()
    try:
        screen = Screen(console)
        plan, folder, settings = _begin(options, state_folder, screen)
        with folder.lock():
            # Another runner may have ended since the state was read. Interrupted, until the first step is looked at.
            state = replace(folder.read(), settings=settings, status=INTERRUPTED_STATUS)
            folder.write(state)
            return _run(options, plan, folder, state, screen)
    except KeyboardInterrupt:
        return _interrupted(options, folder, errors)
    except JobError as exc:
        if options.as_json:
            _print_json({"status": "invalid", "message": str(exc), "findings": _findings(exc)})
        for line in str(exc).splitlines():
            errors.print(line, markup=False, soft_wrap=True)
        return INVALID
    except OSError as exc:
        message = f"cannot go on: {exc}"
        errors.print(message, markup=False, soft_wrap=True)
        if options.as_json:
            _print_json(_described(options, folder) | {"status": "failed", "message": message})
        return FAILED
    finally:
        restore()


def _begin(options: RunOptions, state_folder: Path, screen: Screen) -> tuple[Plan, RunFolder, list[str]]:
    """Find out all that can go wrong before a step runs; return what to run with which settings, and the run's folder."""
    if quoted(state_folder.resolve()):
        raise RunError(
            f"expected a folder of local state without quotation marks, found {state_folder}; choose one with --asset-dir"
        )
    runs = state_folder / "runs"
    folder, earlier = None, None
    if options.resume:
        folder = find_run(runs, options.run, options.file.resolve() if options.file else None)
        earlier = folder.read()
    elif options.run is not None:
        raise RunError(
            f"expected --resume before the name of a run, found {options.run} alone; write --resume {options.run}"
        )
    file = options.file or (Path(earlier.job_file) if earlier else None)
    if file is None:
        raise RunError("expected a job to run, found none; name one, as in `asset run -f evaluation/JOB.yml`")
    settings = [*(earlier.settings if earlier else []), *map(absolute, options.settings)]
    own = OwnModel.read()
    plan = plan_job(*checked_job(file, settings, own), own)
    require_environments(plan)
    require_commands(plan)
    for warning in plan.warnings:
        screen.note(f"warning: {warning}", "yellow")
    if folder is None or earlier is None:
        folder = RunFolder.create(runs, plan.job_file.stem)
        folder.write(RunState(folder.path.name, str(plan.job_file), settings, now(), INTERRUPTED_STATUS))
    return plan, folder, settings


def _run(options: RunOptions, plan: Plan, folder: RunFolder, state: RunState, screen: Screen) -> int:
    resume = summary.resume_command(folder, options.state)
    screen.note(f"run {state.name}: {len(plan.steps)} steps ({' -> '.join(step.name for step in plan.steps)})")
    if not database(folder.state).exists():
        screen.note("setting up MLflow's store, once; this takes some seconds", "dim")
    tracker = Tracker(folder.state, plan.experiment, lambda text: screen.note(f"warning: {text}", "yellow"))
    failure = None
    try:
        Runner(plan, folder, state, tracker, screen).run()
        summary.show_finished(screen.console, state)
        screen.note(
            f"finished. The run is kept in {shown(folder.path)}; look at it with `{summary.ui_command(options.state)}`"
        )
    except StepError as exc:
        failure = exc
        summary.show_failed(safe_console(sys.stderr), exc, state, folder, resume)
    if options.as_json:
        _print_json(summary.as_json(state, folder, resume, failure))
    return FAILED if failure else 0


def _interrupted(options: RunOptions, folder: RunFolder | None, errors: Console) -> int:
    if folder is None:
        message = "interrupted before a step ran"
        errors.print(message)
        if options.as_json:
            _print_json({"status": "interrupted", "message": message})
        return INTERRUPTED
    errors.print("interrupted; nothing of it runs on", style="bold red")
    summary.show_way_on(errors, folder, summary.resume_command(folder, options.state))
    if options.as_json:
        _print_json(_described(options, folder))
    return INTERRUPTED


def _described(options: RunOptions, folder: RunFolder | None) -> dict[str, Any]:
    """Return what there is to say of a run that did not come to its end: nothing where it has no folder."""
    if folder is None:
        return {}
    return summary.as_json(folder.read(), folder, summary.resume_command(folder, options.state))


def _findings(error: JobError) -> list[dict[str, Any]]:
    if not isinstance(error, InvalidJobError):
        return []
    return [finding.as_dict() for finding in error.findings]


def _print_json(content: dict[str, Any]) -> None:
    output = SafeStream(sys.stdout)
    output.write(json.dumps(content, ensure_ascii=False) + "\n")
    output.flush()
