"""How jobs are stopped, and what is told of them meanwhile."""

from __future__ import annotations

from pathlib import Path

from asset.local.client.runs import RUNNING, STARTING, LocalRun
from asset.local.jobs.run_folder import FINISHED, INTERRUPTED, RunFolder, RunState


def test_a_run_whose_runner_is_about_to_end_is_not_starting(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "runs", "job")
    folder.write(RunState(folder.path.name, "job.yml", [], "", INTERRUPTED))
    with folder.lock():
        assert LocalRun(folder).status == STARTING
        folder.write(RunState(folder.path.name, "job.yml", [], "", FINISHED))
        assert LocalRun(folder).status == RUNNING
