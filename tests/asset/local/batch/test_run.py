"""Batch deployments run here as on Azure: mini-batches of files, tries, a limit of time, a threshold, one process or more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from azure.ai.ml import load_batch_deployment
from azure.ai.ml.entities._load_functions import load_model_batch_deployment

from asset.local.batch.run import files_of, run_batch
from asset.local.batch.settings import BatchError, BatchFailed, BatchResult, BatchSettings

ROOT = Path(__file__).resolve().parents[4]
PYTHON = ROOT / ".venv/batch/bin/python"

# Each file of input is JSON, and says what happens at which try.
SCRIPT = """
import json, os, sys, time
from pathlib import Path

def init():
    print("started", os.getpid(), sys.path[:2], flush=True)
    if os.environ.get("FAIL_INIT"):
        raise OSError("no such weights")
    if os.environ.get("SLOW_INIT"):
        Path(os.environ["SLOW_INIT"]).write_text(f"{os.getpid()} ")
        time.sleep(60)

def run(mini_batch):
    rows = []
    for path in map(Path, mini_batch):
        tries = Path(os.environ["AZUREML_BI_OUTPUT_PATH"]) / f"{path.name}.tries"
        with tries.open("a") as file:
            file.write(f"{os.getpid()} {time.monotonic()}\\\\n")
        done = len(tries.read_text().splitlines())
        what = json.loads(path.read_text())
        now = what[min(done, len(what)) - 1]
        if now == "raise":
            raise ValueError(f"{path.name} at try {done}")
        if now == "die":
            os._exit(9)
        if now == "hang":
            time.sleep(60)
        if now == "slow":
            time.sleep(1)
        if now == "raise late":
            time.sleep(1)
            raise ValueError(path.name)
        if now == "number":
            return len(mini_batch)
        if now != "skip":
            rows.append(f"{path.name} {os.environ['AZUREML_MODEL_DIR']} {os.environ.get('SET')}")
    return rows
""".replace("\\\\n", "\\n")


@pytest.fixture
def settings(tmp_path: Path) -> BatchSettings:
    code = tmp_path / "the code"
    (code / "inside").mkdir(parents=True)
    (code / "inside/score_batch.py").write_text(SCRIPT, encoding="utf-8")
    return BatchSettings(code, "inside/score_batch.py", PYTHON, tmp_path, mini_batch_size=2, timeout=20.0)


@pytest.fixture
def inputs(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes files of input, each with what happens at its tries, and returns their folder."""

    def write(*files: list[str]) -> Path:
        folder = tmp_path / "in"
        folder.mkdir()
        for number, what in enumerate(files):
            (folder / f"f{number}.json").write_text(json.dumps(what), encoding="utf-8")
        return folder

    return write


def tries(result: BatchResult, number: int) -> list[str]:
    """Return the process of each try of a file."""
    return [line.split()[0] for line in (result.output / f"f{number}.json.tries").read_text().splitlines()]


def rows(result: BatchResult) -> list[str]:
    return (result.output / "predictions.csv").read_text(encoding="utf-8").splitlines()


def test_files_are_scored_in_mini_batches_by_one_process(
    settings: BatchSettings, inputs: Callable[..., Path], tmp_path: Path
) -> None:
    told: list[str] = []
    given = replace(settings, variables={"SET": "kept"})
    result = run_batch(inputs(*[["good"]] * 5), tmp_path / "out", given, log=tmp_path / "log", tell=told.append)
    assert (result.files, result.mini_batches) == (5, 3)
    assert (result.succeeded, result.failed, result.retries) == (5, 0, 0)
    assert rows(result) == [f"f{number}.json {tmp_path} kept" for number in range(5)]
    assert len({tries(result, number)[0] for number in range(5)}) == 1
    assert told == [f"{done} of 5 files, 0 failed" for done in (2, 4, 5)]
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert log.count("started") == 1
    # The root of the code comes first, and nothing of ours is beside it.
    assert f"['{settings.code}', " in log
    assert f"{ROOT}/asset" not in log


def test_a_mini_batch_that_fails_is_tried_again(
    settings: BatchSettings, inputs: Callable[..., Path], tmp_path: Path
) -> None:
    folder = inputs(["good"], ["raise", "good"], ["die", "good"], ["good"], ["hang", "good"])
    result = run_batch(folder, tmp_path / "out", replace(settings, timeout=2.0))
    assert (result.succeeded, result.failed, result.retries) == (5, 0, 3)
    assert len(rows(result)) == 5
    raised, died, hung = (tries(result, number) for number in (1, 2, 4))
    # One that raised goes on in the same process, the others in a fresh one.
    assert raised[0] == raised[1]
    assert len({*raised, *died, *hung}) == 3


def test_a_mini_batch_is_given_up_after_its_tries_and_counted_by_its_files(
    settings: BatchSettings, inputs: Callable[..., Path], tmp_path: Path
) -> None:
    folder = inputs(["good"], ["raise"], ["good"], ["skip"], ["number"], ["good"])
    result = run_batch(folder, tmp_path / "out", settings, log=tmp_path / "log")
    assert (result.succeeded, result.failed, result.retries) == (1, 5, 4)
    assert [(len(found.files), found.reason) for found in result.given_up] == [
        (2, "ValueError: f1.json at try 3"),
        (2, "TypeError: run() returned int; return a list or a DataFrame"),
    ]
    assert [row.split()[0] for row in rows(result)] == ["f2.json"]
    assert "ValueError: f1.json at try 1" in (tmp_path / "log").read_text(encoding="utf-8")


@pytest.mark.parametrize(("threshold", "done"), [(0, 1), (1, 2)])
def test_too_many_failed_files_end_the_run(
    settings: BatchSettings, inputs: Callable[..., Path], tmp_path: Path, threshold: int, done: int
) -> None:
    folder = inputs(["raise"], ["raise"], ["good"], ["good"], ["good"], ["good"])
    given = replace(settings, mini_batch_size=1, max_retries=1, error_threshold=threshold)
    with pytest.raises(
        BatchFailed, match=f"{done} of 6 files failed, and error_threshold allows {threshold}"
    ) as caught:
        run_batch(folder, tmp_path / "out", given)
    assert (caught.value.result.succeeded, caught.value.result.failed) == (0, done)


def test_too_many_failed_files_leave_no_process(
    settings: BatchSettings, inputs: Callable[..., Path], tmp_path: Path
) -> None:
    given = replace(settings, mini_batch_size=1, max_retries=1, error_threshold=0, max_concurrency=2)
    with pytest.raises(BatchFailed) as caught:
        run_batch(inputs(["raise"], ["raise late"]), tmp_path / "out", given)
    for number in (0, 1):
        with pytest.raises(ProcessLookupError):
            os.kill(int(tries(caught.value.result, number)[0]), 0)


def test_as_many_failed_files_as_may_be_do_not_end_the_run(
    settings: BatchSettings, inputs: Callable[..., Path], tmp_path: Path
) -> None:
    folder = inputs(["raise"], ["raise"], ["good"], ["good"])
    result = run_batch(folder, tmp_path / "out", replace(settings, mini_batch_size=1, max_retries=1, error_threshold=2))
    assert (result.succeeded, result.failed) == (2, 2)


def test_two_processes_work_beside_each_other(
    settings: BatchSettings, inputs: Callable[..., Path], tmp_path: Path
) -> None:
    folder = inputs(*[["slow"]] * 4)
    result = run_batch(folder, tmp_path / "out", replace(settings, mini_batch_size=1, max_concurrency=2))
    assert result.succeeded == 4
    assert len({tries(result, number)[0] for number in range(4)}) == 2


def test_an_init_that_fails_ends_the_run_with_its_reason(
    settings: BatchSettings, inputs: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(BatchError, match="init\\(\\) of inside/score_batch.py failed: the process ended with status 1"):
        given = replace(settings, variables={"FAIL_INIT": "1"})
        run_batch(inputs(["good"]), tmp_path / "out", given, log=tmp_path / "log")
    assert "no such weights" in (tmp_path / "log").read_text(encoding="utf-8")


INTERRUPTED = """
import sys
from pathlib import Path
from asset.local.batch.run import run_batch
from asset.local.batch.settings import BatchSettings
from asset.screen import interrupt_on_signals
interrupt_on_signals()  # as the process of a batch job does
code, python, folder, out = map(Path, sys.argv[1:])
try:
    run_batch(folder, out, BatchSettings(code, "inside/score_batch.py", python))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("in_init", [False, True])
def test_an_interrupted_run_leaves_no_process(
    settings: BatchSettings, inputs: Callable[..., Path], tmp_path: Path, in_init: bool, number: signal.Signals
) -> None:
    arguments = map(str, [settings.code, PYTHON, inputs(["hang"]), tmp_path / "out"])
    marker = tmp_path / ("init" if in_init else "out/f0.json.tries")
    environment = os.environ | ({"SLOW_INIT": str(marker)} if in_init else {})
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED, *arguments], cwd=ROOT, env=environment)
    deadline = time.monotonic() + 60
    while not marker.exists() or not marker.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(timeout=30) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(marker.read_text().split()[0]), 0)


def test_missing_files_and_environments_are_refused(
    settings: BatchSettings, inputs: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BatchError, match="there is no file to score in .*empty"):
        run_batch(tmp_path / "empty", tmp_path / "out", settings)
    folder = inputs(["good"])
    with pytest.raises(BatchError, match="run `make setup SETS=absent`"):
        run_batch(folder, tmp_path / "out", replace(settings, python=tmp_path / ".venv/absent/bin/python"))
    with pytest.raises(BatchError, match="there is no scoring script .*absent.py"):
        run_batch(folder, tmp_path / "out", replace(settings, script="absent.py"))


def test_all_files_below_a_folder_are_scored_except_hidden_files_and_outputs(tmp_path: Path) -> None:
    for name in ("b.txt", "a/c.txt", ".hidden", ".folder/d.txt", "out/b.txt.answers.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert files_of(tmp_path, tmp_path / "out") == [str(tmp_path / name) for name in ("a/c.txt", "b.txt")]
    assert files_of(tmp_path / "b.txt") == [str(tmp_path / "b.txt")]


# Our own deployment


def our_deployment(model: Path) -> BatchSettings:
    deployment = load_model_batch_deployment(ROOT / "deployment/batch-deployment.yml")
    return BatchSettings.of(deployment, ROOT, "deployment/batch_score.py", PYTHON, model)


def test_the_deployment_is_read_as_azure_reads_it(tmp_path: Path) -> None:
    settings = our_deployment(tmp_path)
    assert (settings.mini_batch_size, settings.max_concurrency, settings.error_threshold) == (10, 1, -1)
    assert (settings.max_retries, settings.timeout, settings.appends) == (3, 3600, False)
    assert settings.variables == {"BATCH_SCORING_PART_SECONDS": "10"}
    assert BatchSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_a_deployment_in_the_older_form_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "deployment.yml").write_text(
        "name: a\nendpoint_name: b\nmodel:\n  path: model\ncode_configuration:\n  code: .\n"
        "  scoring_script: score_batch.py\nenvironment: azureml:bert-base-cased-batch:1\nmini_batch_size: 3\n",
        encoding="utf-8",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK would rather see the newer form
        deployment = load_batch_deployment(tmp_path / "deployment.yml")
    settings = BatchSettings.of(deployment, tmp_path, "score_batch.py", PYTHON, None)
    assert (settings.mini_batch_size, settings.appends, settings.output_file_name) == (3, True, "predictions.csv")
    assert (settings.model, BatchSettings.from_json(settings.to_json())) == (None, settings)


def test_our_deployment_scores_a_folder_here_in_the_environment_of_its_image(
    sharp_checkpoint: Path, tmp_path: Path
) -> None:
    settings = our_deployment(sharp_checkpoint)
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for number in range(12):
        text = "The [MASK] sat.\nno gap\n" * (number + 1)
        (folder / ("sub" if number % 2 else ".") / f"f{number:02}.txt").write_text(text, encoding="utf-8")
    (folder / "readme.md").write_text("not rows", encoding="utf-8")
    result = run_batch(folder, tmp_path / "out", settings, log=tmp_path / "log")
    assert (result.files, result.mini_batches) == (13, 2)
    assert (result.succeeded, result.failed, result.retries) == (12, 1, 0)
    found = [json.loads(path.read_bytes()) for path in sorted(result.output.rglob("*.summary.json"))]
    assert sum(summary["rows"] for summary in found) == 2 * sum(range(1, 13))
    assert sum(summary["failed"] for summary in found) == sum(range(1, 13))
    assert [summary["file"] for summary in found if summary["error"]] == ["readme.md"]
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert "sub/f11.txt: done, 24 rows, 12 failed" in log


def test_a_process_that_is_killed_in_the_middle_loses_and_doubles_no_row(
    sharp_checkpoint: Path, tmp_path: Path
) -> None:
    settings = our_deployment(sharp_checkpoint)
    settings = replace(settings, variables={"BATCH_SCORING_PART_SECONDS": "0"})
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text("The [MASK] sat on the mat.\n" * 20_000, encoding="utf-8")
    output = tmp_path / "out"

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not list(output.glob(".unfinished/a.txt/*/0*")) and time.monotonic() < deadline:
            time.sleep(0.002)
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                ours = f"AZUREML_BI_OUTPUT_PATH={output}".encode() in environ.read_bytes()
            except OSError:
                continue
            if ours:
                os.kill(int(environ.parent.name), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    result = run_batch(folder, output, settings, log=tmp_path / "log")
    killer.join()
    assert (result.succeeded, result.failed, result.retries) == (1, 0, 1)
    text = (output / "a.txt.answers.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line)["row"] for line in text.splitlines()] == list(range(1, 20_001))
    assert "a.txt: going on after row" in (tmp_path / "log").read_text(encoding="utf-8")
