"""An output of mode rw_mount is there again when its unfinished step is, as long as what it is made from is the same."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asset.local.jobs.run_folder import RunFolder
from tests.asset.local.jobs.processes import alive, gone, wait_for

if TYPE_CHECKING:
    from tests.asset.local.jobs.conftest import Asset

GOES_ON = "tuned.train: goes on with what it had written to trained"
ANEW = "tuned.train: starts anew, as its {} changed; what it had written to trained is removed"


def lines(asset: Asset) -> list[str]:
    """Return what the first process of the step `train` wrote into its checkpoint, a line for each try."""
    path = asset.last.path / "tuned.train/outputs/trained/checkpoint-0"
    return path.read_text(encoding="utf-8").splitlines()


def fail_in_the_middle(asset: Asset) -> None:
    asset.flag.write_text("sleep 0.5; exit 3\n", encoding="utf-8")
    assert asset.run().exit_code == 1
    asset.flag.unlink()


def run_killed(asset: Asset, *arguments: str) -> None:
    """Run the job until both processes of `train` have written a checkpoint, and kill the runner with SIGKILL."""
    pids = [asset.folder / f"pid-{rank}" for rank in range(2)]
    for path in pids:
        path.unlink(missing_ok=True)
    asset.flag.write_text(
        f"echo $$ > {asset.folder}/new-$RANK; mv {asset.folder}/new-$RANK {asset.folder}/pid-$RANK; sleep 300\n",
        encoding="utf-8",
    )
    runner = asset.start(*arguments)
    wait_for(lambda: all(path.exists() for path in pids) or runner.poll() is not None)
    assert runner.poll() is None, runner.communicate()
    runner.send_signal(signal.SIGKILL)
    runner.communicate()
    assert alive(int(pids[0].read_text(encoding="utf-8")))
    asset.flag.unlink()


def test_a_mounted_output_is_kept_after_the_runner_was_killed(pipeline: Asset) -> None:
    run_killed(pipeline, "run", "-f", str(pipeline.job), "--set", f"inputs.flag={pipeline.flag}")
    run_killed(pipeline, "run", "--resume")
    result = pipeline("run", "--resume")
    assert result.exit_code == 0, result.output
    assert GOES_ON in result.stdout and "tuned.train[0] | found: checkpoint-0 checkpoint-1" in result.stdout
    assert lines(pipeline) == ["0 of 2 for us"] * 3
    assert all(gone(int((pipeline.folder / f"pid-{rank}").read_text(encoding="utf-8"))) for rank in range(2))


def test_other_outputs_are_removed(pipeline: Asset) -> None:
    fail_in_the_middle(pipeline)
    (pipeline.folder / "code/train.sh").write_text('ls "$3"; touch "$2/rank-$RANK"\n', encoding="utf-8")
    result = pipeline("run", "--resume")
    assert result.exit_code == 0 and GOES_ON in result.stdout and "half.txt" not in result.stdout
    assert not (pipeline.last.path / "tuned.train/outputs/report/half.txt").exists()


def test_changed_code_goes_on_with_a_mounted_output(pipeline: Asset) -> None:
    fail_in_the_middle(pipeline)
    with open(pipeline.folder / "code/train.sh", "a", encoding="utf-8") as file:
        file.write("echo better\n")
    result = pipeline("run", "--resume")
    # The step before has the same code: it ran again too, and wrote the same.
    assert "tuned.prepare: runs again, as its code changed" in result.stdout
    assert GOES_ON in result.stdout and len(lines(pipeline)) == 2


@pytest.mark.parametrize("killed", [False, True], ids=["fails", "is killed"])
def test_a_mounted_output_is_kept_while_a_step_before(pipeline: Asset, killed: bool) -> None:
    fail_in_the_middle(pipeline)
    prepare = pipeline.folder / "code/prepare.sh"
    before = prepare.read_text(encoding="utf-8")
    prepare.write_text(f"{'kill -9 $PPID; sleep 300' if killed else 'exit 3'}\n", encoding="utf-8")
    assert pipeline.start("run", "--resume").wait(timeout=120) == (-signal.SIGKILL if killed else 1)
    prepare.write_text(before, encoding="utf-8")
    result = pipeline("run", "--resume")
    assert result.exit_code == 0 and GOES_ON in result.stdout and len(lines(pipeline)) == 2


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda a: (a.folder / "code/prepare.sh").write_text('echo other > "$1/rows.txt"\n'), "inputs"),
        (lambda a: a.edit("components/train.yml", "bash train.sh", "bash  train.sh"), "command"),
        (lambda a: a.edit("components/tune.yml", "    default: 2\n", "    default: 1\n"), "command"),
    ],
    ids=["another input", "another command", "other processes"],
)
def test_a_mounted_output_is_removed_if_its_command_environment_or_inputs_change(
    pipeline: Asset, change: Callable[[Asset], object], part: str
) -> None:
    fail_in_the_middle(pipeline)
    change(pipeline)
    result = pipeline("run", "--resume")
    assert result.exit_code == 0, result.output
    assert ANEW.format(part) in result.stdout and GOES_ON not in result.stdout
    assert len(lines(pipeline)) == 1


def test_a_finished_step_that_runs_again_starts_empty(pipeline: Asset) -> None:
    assert pipeline.run().exit_code == 0
    result = pipeline("run", "--resume", "--set", "jobs.tuned.inputs.style=loud")
    assert "tuned.train: runs again, as its inputs changed" in result.stdout
    assert GOES_ON not in result.stdout and len(lines(pipeline)) == 1


def test_a_step_that_wrote_nothing_gets_no_note(pipeline: Asset) -> None:
    code = (pipeline.folder / "code/train.sh").read_text(encoding="utf-8")
    (pipeline.folder / "code/train.sh").write_text("exit 3\n", encoding="utf-8")
    assert pipeline.run().exit_code == 1
    (pipeline.folder / "code/train.sh").write_text(code, encoding="utf-8")
    result = pipeline("run", "--resume")
    assert result.exit_code == 0 and "had written to" not in result.stdout


def resume_killed(asset: Asset, patch: pytest.MonkeyPatch, acts: int) -> bool:
    """Continue the run in a process of its own, which SIGKILL ends in the place of its next act after so many.

    An act changes the run's state or the step's folder. Return whether it was killed, and not done before.
    """
    done = 0

    def counted(act: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object, **named: object) -> object:
            nonlocal done
            if isinstance(arguments[0], RunFolder) or "tuned.train" in str(arguments[0]):
                if done == acts:
                    os.kill(os.getpid(), signal.SIGKILL)
                done += 1
            return act(*arguments, **named)

        return run

    child = os.fork()
    if not child:
        for holder, name in ((RunFolder, "write"), (Path, "rename"), (Path, "mkdir"), (Path, "unlink")):
            patch.setattr(holder, name, counted(getattr(holder, name)))
        patch.setattr(shutil, "rmtree", counted(shutil.rmtree))
        os._exit(asset("run", "--resume").exit_code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def test_a_runner_that_is_killed_between_any_two_acts_leaves_a_mounted_output(
    pipeline: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in_the_middle(pipeline)
    step = pipeline.last.path / "tuned.train"
    (step / "outputs.unfinished/trained/first").write_text("first", encoding="utf-8")
    acts, renamed = 0, False
    while resume_killed(pipeline, monkeypatch, acts):
        found = list(step.glob("outputs*/trained/first"))
        assert len(found) == 1 and found[0].read_text(encoding="utf-8") == "first"
        if pipeline.last_state.steps["tuned.train"].status == "running" and (step / "outputs").exists():
            renamed = True
        if pipeline.last_state.steps["tuned.train"].status == "finished":
            break
        acts += 1
    assert acts > 8 and renamed
    assert pipeline("run", "--resume").exit_code == 0
    assert (step / "outputs/trained/first").is_file() and len(lines(pipeline)) > 2
