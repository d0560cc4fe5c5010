"""Run the steps of a plan, one after the other, and write down in the run's folder what they did.

`resume` decides which steps run again in a second try of the same run.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from asset.checks.pipeline.command import ESCAPED, ends_quotation, resolve
from asset.findings import JobError, shown
from asset.local.jobs.errors import StepError
from asset.local.jobs.plan import Plan, Step, StepOutput, Value
from asset.local.jobs.resume import Hashes, Resumption
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
from asset.local.jobs.step import Launch, StepLog, StepProcess
from asset.local.jobs.tracking import Tracker, can_log
from asset.local.processes import end_marked
from asset.screen import Screen

TIMED_OUT = 124
"""The exit status of the command `timeout`."""

MARK = "ASSET_RUN_FOLDER"
"""The environment variable that marks the processes of a step: it holds the folder of their run."""


@dataclass
class Runner:
    """One run of a plan. The caller holds the folder's lock."""

    plan: Plan
    folder: RunFolder
    state: RunState
    tracker: Tracker
    screen: Screen

    def run(self) -> None:
        """Run all steps that are not kept from an earlier try.

        Raises:
            StepError: a step failed; the state says so.
            KeyboardInterrupt: the run was stopped; the step's processes are gone, and the state says so.
        """
        try:
            self._begin()
            self._run_steps()
            for name, output in self.plan.outputs.items():
                self.state.outputs[name] = str(
                    self.folder.link_output(name, self.folder.output(output.step, output.name))
                )
        except BaseException as exc:
            self._end(_status(exc))
            raise
        self._end(FINISHED)

    def _run_steps(self) -> None:
        resumption = Resumption(self.plan, self.folder, self.state.steps, self.screen.note)
        for step in self.plan.steps:
            if not resumption.keeps(step):
                made_for = resumption.unfinished_hashes(step)
                kept_outputs = resumption.kept_outputs(step, made_for)
                self._forget(step, itself=not kept_outputs)
                self.folder.step(step.name).clear(kept_outputs)
                self._run_step(step, resumption.hashes[step.name], made_for)

    def _begin(self) -> None:
        self.state.status, self.state.ended = RUNNING, None
        # The outputs of an earlier try are not the outputs of this one.
        self.state.outputs = {}
        self.folder.unlink_outputs()
        self.state.steps = {s.name: self.state.steps[s.name] for s in self.plan.steps if s.name in self.state.steps}
        left = end_marked(MARK, str(self.folder.path))
        if left:
            self.screen.note(f"stopped {len(left)} processes that an earlier runner left behind")
        for step in self.state.steps.values():
            if step.status == RUNNING:
                step.status = INTERRUPTED
                self.tracker.end(step.mlflow_run_id, INTERRUPTED)
        # MLflow cannot change the parameters of a run: with other inputs, this is another run there.
        again = self.state.mlflow_run_id if self.state.inputs == self.plan.inputs else None
        self.state.inputs = self.plan.inputs
        self.state.mlflow_run_id = self.tracker.begin(self.state.name, self.plan.inputs, again=again)
        self.folder.write(self.state)

    def _end(self, status: str) -> None:
        self.state.status, self.state.ended = status, now()
        self.folder.write(self.state)
        self.tracker.end(self.state.mlflow_run_id, status)

    def _forget(self, step: Step, itself: bool) -> None:
        """Before a step runs, drop the record of it (`itself`), and those of finished steps that take its outputs.

        Otherwise a runner that is killed meanwhile would leave a step called finished without its outputs, or with others.
        A step that had not finished is remembered, as what it wrote may be kept.
        """
        stale = {step.name}
        for other in self.plan.steps:
            if other.needs & stale:
                stale.add(other.name)
        for name in stale & set(self.state.steps):
            if self.state.steps[name].status == FINISHED or (name == step.name and itself):
                del self.state.steps[name]
        self.folder.write(self.state)

    def _run_step(self, step: Step, hashes: Hashes, made_for: Hashes) -> None:
        where = self.folder.step(step.name)
        inputs = {name: self._text(value) for name, value in step.inputs.items()}
        record = StepState(
            fingerprint=hashes,
            command=resolve(step.command, inputs, _room_for_outputs(step, where)),
            environment=step.environment.name,
            inputs=inputs,
            log=str(where.log),
            started=now(),
            mlflow_run_id=self.tracker.begin(step.name, inputs, parent=self.state.mlflow_run_id),
            made_for=made_for,
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
            reason = f"its output cannot be written to {where.log}: {process.problem}; make room on the disk"
            raise StepError(step.name, record.exit_status, reason, list(log.last))
        missing = sorted(name for name in self.plan.taken(step.name) if not (where.unfinished / name).exists())
        if record.exit_status or missing:
            raise StepError(step.name, record.exit_status, _reason(record.exit_status, missing), list(log.last))
        where.finish()
        # Before the step is called finished, its outputs are on the disk: the machine may lose its power.
        os.sync()
        record.outputs = {name: str(where.outputs / name) for name in step.outputs if (where.outputs / name).exists()}
        if not can_log(step.environment):
            for path in record.outputs.values():
                self.tracker.result(record.mlflow_run_id, Path(path))

    def _text(self, value: Value) -> str:
        return str(self.folder.output(value.step, value.name) if isinstance(value, StepOutput) else value)

    def _variables(self, step: Step, record: StepState) -> dict[str, str]:
        """Return the environment variables of a step: of its virtual environment, of Azure, and its own."""
        return {
            **step.environment.variables(),
            # Lines appear when they are written, not when a buffer is full.
            "PYTHONUNBUFFERED": "1",
            "AZUREML_RUN_ID": f"{self.state.name}-{step.name}",
            "AZUREML_ROOT_RUN_ID": self.state.name,
            "AZUREML_EXPERIMENT_NAME": self.plan.experiment,
            MARK: str(self.folder.path),
            **self.tracker.variables(record.mlflow_run_id, step.environment),
            **step.variables,
        }


def _room_for_outputs(step: Step, where: StepFolder) -> dict[str, str]:
    """Return the paths of a step's outputs. Folders are made; a file is for the step to make."""
    for name, kind in step.outputs.items():
        if kind != "uri_file":
            (where.unfinished / name).mkdir(exist_ok=True)
    return {name: str(where.unfinished / name) for name in step.outputs}


def _status(error: BaseException) -> str:
    return FAILED if isinstance(error, Exception) else INTERRUPTED


def _reason(status: int, missing: list[str]) -> str:
    if not status:
        return f"its command ended with status 0 and did not write {', '.join(missing)}, which the job uses"
    named = f", by {Signals(status - 128).name}" if status - 128 in set(Signals) else ""
    return f"its command ended with status {status}{named}"


def require_commands(plan: Plan) -> None:
    """Raise JobError if the command of a step cannot be filled in.

    Raises:
        JobError: the command names a port that its step does not have, or a value would break it.
    """
    for step in plan.steps:
        try:
            resolve(step.command, dict.fromkeys(step.inputs, ""), dict.fromkeys(step.outputs, ""))
        except JobError as exc:
            raise JobError(f"step '{step.name}': {exc}") from exc
        texts = {name: value for name, value in step.inputs.items() if isinstance(value, str)}
        for name in ends_quotation(step.command, texts):
            raise JobError(
                f"step '{step.name}': its command puts '{name}' between apostrophes, and the value has one: {texts[name]}; "
                f"write {ESCAPED} in the place of each"
            )


def require_environments(plan: Plan) -> None:
    """Raise JobError if the environment of a step is not set up.

    Raises:
        JobError: an environment is missing; the message names the command that sets it up.
    """
    for environment in dict.fromkeys(step.environment for step in plan.steps):
        environment.require()
