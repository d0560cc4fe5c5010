"""`asset run`: a pipeline job of Azure ML, on this machine."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from registry.jobs import summary
from registry.jobs.checks import checked_job
from registry.jobs.environments import ROOT
from registry.jobs.errors import InvalidJobError, JobError, RunError, StepError
from registry.jobs.local_data import OwnModel, quoted
from registry.jobs.plan import Plan, plan_job
from registry.jobs.run_folder import INTERRUPTED as INTERRUPTED_STATUS
from registry.jobs.run_folder import RunFolder, RunState, find_run, now
from registry.jobs.runner import Runner, require_commands, require_environments
from registry.jobs.screen import SafeStream, Screen, safe_console
from registry.jobs.settings import absolute
from registry.jobs.tracking import Tracker, database
from registry.stop_signals import interrupt_on_signals

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


@dataclass
class Begun:
    """A run that has its folder."""

    plan: Plan
    folder: RunFolder
    state: RunState


def run(options: RunOptions) -> int:
    """Run or continue a job; return the exit status: 0, 1 a step failed, 2 nothing was run, 130 it was interrupted."""
    # With --json, standard output is the one object at the end.
    errors = safe_console(sys.stderr)
    console = errors if options.as_json else safe_console(sys.stdout)
    state_folder = (options.state or ROOT / ".asset").absolute()
    begun: Begun | None = None
    restore = interrupt_on_signals()
    try:
        screen = Screen(console)
        begun = _begin(options, state_folder, screen)
        with begun.folder.lock():
            # Another runner may have ended since the state was read. Interrupted, until the first step is looked at.
            begun.state = replace(begun.folder.read(), settings=begun.state.settings, status=INTERRUPTED_STATUS)
            begun.folder.write(begun.state)
            return _run(options, begun, state_folder, screen, errors)
    except KeyboardInterrupt:
        return _interrupted(options, begun, errors)
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
            _print_json(_described(options, begun) | {"status": "failed", "message": message})
        return FAILED
    finally:
        restore()


def _begin(options: RunOptions, state_folder: Path, screen: Screen) -> Begun:
    """Find out all that can go wrong before a step runs; then make the folder of a new run."""
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
        earlier = RunState(folder.path.name, str(plan.job_file), settings, now(), INTERRUPTED_STATUS)
        folder.write(earlier)
    return Begun(plan, folder, replace(earlier, settings=settings))


def _run(options: RunOptions, begun: Begun, state_folder: Path, screen: Screen, errors: Console) -> int:
    resume = summary.resume_command(begun.folder, options.state)
    screen.note(
        f"run {begun.state.name}: {len(begun.plan.steps)} steps ({' -> '.join(s.name for s in begun.plan.steps)})"
    )
    if not database(state_folder).exists():
        screen.note("setting up MLflow's store, once; this takes some seconds", "dim")
    tracker = Tracker(state_folder, begun.plan.experiment, lambda text: screen.note(f"warning: {text}", "yellow"))
    failure = None
    try:
        Runner(begun.plan, begun.folder, begun.state, tracker, screen).run()
        summary.show_finished(screen.console, begun.state)
        screen.note(
            f"finished. The run is kept in {summary.shown(begun.folder.path)}; look at it with "
            f"`{summary.ui_command(options.state)}`"
        )
    except StepError as exc:
        failure = exc
        summary.show_failed(errors, exc, begun.state, begun.folder, resume)
    if options.as_json:
        _print_json(summary.as_json(begun.state, begun.folder, resume, failure))
    return FAILED if failure else 0


def _interrupted(options: RunOptions, begun: Begun | None, errors: Console) -> int:
    if begun is None:
        message = "interrupted before a step ran"
        errors.print(message)
        if options.as_json:
            _print_json({"status": "interrupted", "message": message})
        return INTERRUPTED
    resume = summary.resume_command(begun.folder, options.state)
    errors.print("interrupted; nothing of it runs on", style="bold red")
    summary.show_way_on(errors, begun.folder, resume)
    if options.as_json:
        _print_json(_described(options, begun))
    return INTERRUPTED


def _described(options: RunOptions, begun: Begun | None) -> dict[str, Any]:
    """Return what there is to say of a run that did not come to its end: nothing where it has no folder."""
    if begun is None:
        return {}
    return summary.as_json(begun.state, begun.folder, summary.resume_command(begun.folder, options.state))


def _findings(error: JobError) -> list[dict[str, Any]]:
    if not isinstance(error, InvalidJobError):
        return []
    return [{"file": f.place.where, "line": f.place.line, "message": f.message} for f in error.findings]


def _print_json(content: dict[str, Any]) -> None:
    output = SafeStream(sys.stdout)
    output.write(json.dumps(content, ensure_ascii=False) + "\n")
    output.flush()
