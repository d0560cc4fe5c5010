"""Run the steps of a plan, one after the other, and keep what they did in the run's folder.

A step is kept on a second try of the same run where it had finished, its outputs are there, and its command, environment,
inputs and code are what they were. The first that is not kept runs, and all that take something from it. One that had
not finished finds what it wrote to its outputs of mode rw_mount, unless its command, environment or inputs are others.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from asset.checks.pipeline.command import ESCAPED, ends_quotation, resolve
from asset.checks.pipeline.errors import JobError, StepError
from asset.findings import shown
from asset.local.jobs.fingerprint import Parts, changed, fingerprint, made_for
from asset.local.jobs.plan import Plan, Step, StepOutput
from asset.local.jobs.run_folder import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    RUNNING,
    RunFolder,
    RunState,
    StepFolder,
    StepState,
    now,
)
from asset.local.jobs.step_log import StepLog
from asset.local.jobs.step_process import Launch, StepProcess
from asset.local.jobs.tracking import Tracker, can_log
from asset.local.processes import end_marked
from asset.screen import Screen

TIMED_OUT = 124
"""The status that `timeout` gives."""

MARK = "ASSET_RUN_FOLDER"
"""The environment variable that tells a step's processes from all others: it holds the folder of their run."""


@dataclass
class Runner:
    """One run of a plan. The folder is locked by whoever calls."""

    plan: Plan
    folder: RunFolder
    state: RunState
    tracker: Tracker
    screen: Screen

    def run(self) -> None:
        """Run all steps that are not kept.

        Raises:
            StepError: a step failed; the state says so.
            KeyboardInterrupt: the run was told to stop; the step's processes are gone, and the state says so.
        """
        try:
            self._begin()
            self._run_steps()
            for name, output in self.plan.outputs.items():
                target = self.folder.step(output.step).outputs / output.name
                self.state.outputs[name] = str(self.folder.link_output(name, target))
        except BaseException as exc:
            self._end(_status(exc))
            raise
        self._end(FINISHED)

    def _run_steps(self) -> None:
        made_by: dict[str, Parts] = {}
        kept: set[str] = set()
        earlier = dict(self.state.steps)
        for step in self.plan.steps:
            made_by[step.name] = fingerprint(step, made_by, self.folder.state)
            if self._keeps(step, earlier.get(step.name), made_by[step.name], kept):
                kept.add(step.name)
            else:
                before = earlier.get(step.name)
                wanted = made_for(step, made_by[step.name], self._written) if step.mounted else {}
                kept_outputs = self._kept_outputs(step, before, wanted)
                self._forget(step, itself=not kept_outputs)
                self.folder.step(step.name).clear(kept_outputs)
                self._run_step(step, made_by[step.name], wanted)

    def _begin(self) -> None:
        self.state.status, self.state.ended = RUNNING, None
        # What an earlier try came to is not what this one comes to.
        self.state.outputs = {}
        self.folder.unlink_outputs()
        self.state.steps = {s.name: self.state.steps[s.name] for s in self.plan.steps if s.name in self.state.steps}
        left = end_marked(MARK, str(self.folder.path))
        if left:
            self.screen.note(f"stopped what an earlier runner left behind: {len(left)} processes")
        for step in self.state.steps.values():
            if step.status == RUNNING:
                step.status = INTERRUPTED
                self.tracker.end(step.mlflow_run_id, INTERRUPTED)
        # A run's parameters cannot be changed in MLflow: other inputs are another run there.
        again = self.state.mlflow_run_id if self.state.inputs == self.plan.inputs else None
        self.state.inputs = self.plan.inputs
        self.state.mlflow_run_id = self.tracker.begin(self.state.name, self.plan.inputs, again=again)
        self.folder.write(self.state)

    def _end(self, status: str) -> None:
        self.state.status, self.state.ended = status, now()
        self.folder.write(self.state)
        self.tracker.end(self.state.mlflow_run_id, status)

    def _keeps(self, step: Step, before: StepState | None, parts: Parts, kept: set[str]) -> bool:
        if before is None or before.status != FINISHED:
            return False
        if different := changed(before.fingerprint, parts):
            reason = f"its {' and '.join(different)} changed"
        elif step.needs - kept:
            reason = f"{', '.join(sorted(step.needs - kept))} ran again"
        elif not self._has_outputs(step, before):
            reason = "an output of it is gone"
        else:
            self.screen.note(f"{step.name}: kept, it finished at {before.ended}")
            return True
        self.screen.note(f"{step.name}: runs again, as {reason}")
        return False

    def _has_outputs(self, step: Step, record: StepState) -> bool:
        """Return whether what a step wrote is there, and all that is taken from it was written."""
        written = all(Path(path).exists() for path in record.outputs.values())
        return written and self.plan.taken(step.name) <= set(record.outputs)

    def _kept_outputs(self, step: Step, before: StepState | None, wanted: Parts) -> list[str]:
        """Return the outputs of mode rw_mount that a step finds as it left them, and say what becomes of such ones."""
        if before is None or before.status == FINISHED:
            return []
        written = self.folder.step(step.name).begun(step.mounted)
        if not written:
            return []
        names, different = " and ".join(written), changed(before.made_for, wanted)
        if not different:
            self.screen.note(f"{step.name}: goes on with what it had written to {names}")
            return written
        reason = f"its {' and '.join(different)} changed"
        self.screen.note(f"{step.name}: starts anew, as {reason}; what it had written to {names} is removed")
        return []

    def _forget(self, step: Step, itself: bool) -> None:
        """Drop what is known of a step (`itself`), and that those made from its outputs had finished, before it runs.

        A runner that ends between the two would else leave a step finished that has no outputs, or others. One that
        had not finished is remembered: what it wrote may be kept.
        """
        stale = {step.name}
        for other in self.plan.steps:
            if other.needs & stale:
                stale.add(other.name)
        for name in stale & set(self.state.steps):
            if self.state.steps[name].status == FINISHED or (name == step.name and itself):
                del self.state.steps[name]
        self.folder.write(self.state)

    def _run_step(self, step: Step, parts: Parts, wanted: Parts) -> None:
        where = self.folder.step(step.name)
        inputs = {name: self._text(value) for name, value in step.inputs.items()}
        record = StepState(
            fingerprint=parts,
            command=resolve(step.command, inputs, _room_for_outputs(step, where)),
            environment=step.environment.name,
            inputs=inputs,
            log=str(where.log),
            started=now(),
            mlflow_run_id=self.tracker.begin(step.name, inputs, parent=self.state.mlflow_run_id),
            made_for=wanted,
        )
        self.state.steps[step.name] = record
        self.folder.write(self.state)
        self.screen.note(f"{step.name}: starts, in {shown(step.environment.folder)}")
        started = time.monotonic()
        try:
            self._execute(step, record, where)
            record.status = FINISHED
        except BaseException as exc:
            record.status = _status(exc)
            raise
        finally:
            seconds = time.monotonic() - started
            record.ended = now()
            self.folder.write(self.state)
            self.tracker.end(record.mlflow_run_id, record.status, seconds, where.log)
        self.screen.note(f"{step.name}: finished in {seconds:.1f} s")

    def _execute(self, step: Step, record: StepState, where: StepFolder) -> None:
        launch = Launch(
            record.command,
            step.folder or where.work,
            self._variables(step, record),
            step.processes,
            (MARK, str(self.folder.path)),
        )
        with StepLog(where.log, step.name, self.screen, step.processes) as log:
            process = StepProcess(launch, log.output)
            try:
                record.exit_status = process.wait(step.timeout)
            except TimeoutError as exc:
                process.stop()
                reason = f"it ran longer than its limit of {step.timeout} s; raise limits.timeout"
                raise StepError(step.name, TIMED_OUT, reason, list(log.last)) from exc
            except BaseException:
                process.stop()
                raise
        if process.problem:
            reason = f"its output could not be kept in {where.log}: {process.problem}; make room for it"
            raise StepError(step.name, record.exit_status, reason, list(log.last))
        missing = sorted(name for name in self.plan.taken(step.name) if not (where.unfinished / name).exists())
        if record.exit_status or missing:
            raise StepError(step.name, record.exit_status, _reason(record.exit_status, missing), list(log.last))
        where.finish()
        # A machine that loses its power after the step is called finished has its outputs on the disk.
        os.sync()
        record.outputs = {name: str(where.outputs / name) for name in step.outputs if (where.outputs / name).exists()}
        if not can_log(step.environment):
            for path in record.outputs.values():
                self.tracker.result(record.mlflow_run_id, Path(path))

    def _text(self, value: str | Path | StepOutput) -> str:
        return str(self._written(value) if isinstance(value, StepOutput) else value)

    def _written(self, output: StepOutput) -> Path:
        return self.folder.step(output.step).outputs / output.name

    def _variables(self, step: Step, record: StepState) -> dict[str, str]:
        """Return the environment of a step's processes: its virtual environment's, its own, and those that Azure sets."""
        return {
            **step.environment.variables(),
            # Lines come when they are written, not when a buffer is full.
            "PYTHONUNBUFFERED": "1",
            "AZUREML_RUN_ID": f"{self.state.name}-{step.name}",
            "AZUREML_ROOT_RUN_ID": self.state.name,
            "AZUREML_EXPERIMENT_NAME": self.plan.experiment,
            MARK: str(self.folder.path),
            **self.tracker.variables(record.mlflow_run_id, step.environment),
            **step.variables,
        }


def _room_for_outputs(step: Step, where: StepFolder) -> dict[str, str]:
    """Return the paths that a step writes to: of a file, for it to make, or of a folder, which is there."""
    for name, kind in step.outputs.items():
        if kind != "uri_file":
            (where.unfinished / name).mkdir(exist_ok=True)
    return {name: str(where.unfinished / name) for name in step.outputs}


def _status(error: BaseException) -> str:
    return FAILED if isinstance(error, Exception) else INTERRUPTED


def _reason(status: int, missing: list[str]) -> str:
    if not status:
        return f"its command ended with status 0 and did not write {', '.join(missing)}, which is taken from it"
    named = f", by {Signals(status - 128).name}" if status - 128 in set(Signals) else ""
    return f"its command ended with status {status}{named}"


def require_commands(plan: Plan) -> None:
    """See that each step's command can be filled in before the first one runs.

    Raises:
        JobError: one names what its step does not have, or a value would break it.
    """
    for step in plan.steps:
        try:
            resolve(step.command, dict.fromkeys(step.inputs, ""), dict.fromkeys(step.outputs, ""))
        except JobError as exc:
            raise JobError(f"step '{step.name}': {exc}") from exc
        texts = {name: value for name, value in step.inputs.items() if isinstance(value, str)}
        for name in ends_quotation(step.command, texts):
            raise JobError(
                f"step '{step.name}': expected '{name}' without an apostrophe, as its command puts it between two, found "
                f"{texts[name]}; write {ESCAPED} in the place of each"
            )


def require_environments(plan: Plan) -> None:
    """See that each step's environment is set up before the first one runs.

    Raises:
        JobError: one is not; the message names the command that does it.
    """
    for environment in dict.fromkeys(step.environment for step in plan.steps):
        environment.require()
