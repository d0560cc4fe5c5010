"""A killed and restarted run has each row once: after a kill at any step of its work on files, and at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployment.batch_output import FileOutput, Part, Summary, name_of
from tests.deployment.scoring import Scored

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys
from deployment import batch_file, batch_score
batch_file.CHUNK_ROWS = 7
batch_score.init()
batch_score.run(sys.argv[1:])
"""

# Scores files again and again, each time in a process that kills itself before it does something to the disk: the first
# time before the first thing, and so on, until it is through without. After each kill another goes on with the same output.
EVERY_STEP = """
import os, pathlib, shutil, signal, sys
from deployment import batch_file, batch_score

batch_file.CHUNK_ROWS = 7

def counted(act, left):
    def acts(*arguments, **options):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(*arguments, **options)
    return acts

def score(output, files, step=0):
    process = os.fork()  # what is imported is there; the model is loaded by each for itself, as threads end in a fork
    if not process:
        try:
            os.environ["AZUREML_BI_OUTPUT_PATH"] = output
            batch_score.init()
            if step:
                left = [step]
                os.fsync, os.rmdir = counted(os.fsync, left), counted(os.rmdir, left)
                for name in ("mkdir", "open", "replace", "unlink"):
                    setattr(pathlib.Path, name, counted(getattr(pathlib.Path, name), left))
            batch_score.run(files)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(process, 0)[1]

folder, *files = sys.argv[1:]
step = 1
while score(f"{folder}/after-{step}", files, step) == signal.SIGKILL:
    if os.path.exists(f"{folder}/after-{step}"):
        shutil.copytree(f"{folder}/after-{step}", f"{folder}/killed-{step}")
    assert score(f"{folder}/after-{step}", files) == 0
    step += 1
"""


def started(
    model: Path, files: list[Path], output: Path, program: str = PROGRAM, *arguments: str
) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "AZUREML_MODEL_DIR": str(model),
        "AZUREML_BI_OUTPUT_PATH": str(output),
        "BATCH_SCORING_INPUT_FOLDER": str(files[0].parent),
        "BATCH_SCORING_PART_SECONDS": "0",
        "BERT_SERVING_PRECISION": "fp32",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", program, *arguments, *map(str, files)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def run(model: Path, files: list[Path], output: Path, program: str = PROGRAM, *arguments: str) -> None:
    process = started(model, files, output, program, *arguments)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told


def contents(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def rows(count: int) -> str:
    """Return so many rows, every fifth of which cannot be answered."""
    texts = [f"The cat sat on mat {n} [MASK]." if n % 5 else f"no gap {n}" for n in range(count)]
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


@pytest.fixture
def files(put: Callable[[str, Any], Path]) -> list[Path]:
    return [put("a.jsonl", rows(9)), put("empty.txt", ""), put("c.csv", "one,two\n1,2\n")]


def test_a_kill_at_any_step_loses_and_doubles_no_row(sharp_checkpoint: Path, files: list[Path], tmp_path: Path) -> None:
    run(sharp_checkpoint, files, tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    assert [expected[f"{name}.answers.jsonl"].count(b"\n") for name in ("a.jsonl", "empty.txt")] == [9, 0]
    runs = tmp_path / "runs"
    runs.mkdir()
    run(sharp_checkpoint, files, runs, EVERY_STEP, str(runs))
    after, killed = sorted(runs.glob("after-*")), sorted(runs.glob("killed-*"))
    assert len(after) > len(killed) > 30
    assert all(contents(folder) == expected for folder in after)
    for folder in killed:
        # Whatever the moment: what has a name of its own is whole. The rest is hidden, and what the next one begins with.
        named = {name: text for name, text in contents(folder).items() if not Path(name).parts[0].startswith(".")}
        assert named.items() <= expected.items()


def test_kills_at_random_moments_lose_and_double_no_row(
    sharp_checkpoint: Path, put: Callable[[str, Any], Path], tmp_path: Path
) -> None:
    files = [put("a.jsonl", rows(3000))]
    run(sharp_checkpoint, files, tmp_path / "whole")
    draw, kills = random.Random(17), 0
    output = tmp_path / "killed"
    for _ in range(8):
        process = started(sharp_checkpoint, files, output)
        assert process.stderr is not None
        # The clock runs from when the model is there, so that a kill is in the middle of the work.
        while "ready after" not in process.stderr.readline():
            pass
        time.sleep(draw.uniform(0, 0.4))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    run(sharp_checkpoint, files, output)
    assert kills > 0
    assert contents(output) == contents(tmp_path / "whole")


def test_two_processes_with_the_same_file_write_the_same(
    sharp_checkpoint: Path, put: Callable[[str, Any], Path], tmp_path: Path
) -> None:
    # As when a mini-batch is given to another worker while the first one only seems to be gone.
    files = [put("a.jsonl", rows(2000))]
    run(sharp_checkpoint, files, tmp_path / "whole")
    processes = [started(sharp_checkpoint, files, tmp_path / "two") for _ in range(2)]
    told = [process.communicate(timeout=120)[1] for process in processes]
    assert 0 in [process.returncode for process in processes], told
    run(sharp_checkpoint, files, tmp_path / "two")
    assert contents(tmp_path / "two") == contents(tmp_path / "whole")


# What is done is not done again


def test_a_retried_mini_batch_scores_only_what_is_not_done(
    score: Callable[..., Scored],
    put: Callable[[str, Any], Path],
    sharp_checkpoint: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    files = [put("a.jsonl", rows(20)), put("b.jsonl", rows(8))]
    first = score(sharp_checkpoint, files[:1])
    written = (first.output / "a.jsonl.answers.jsonl").stat().st_mtime_ns
    again = score(sharp_checkpoint, files)
    assert [summary["rows"] for summary in again.summaries] == [20, 8]
    assert (again.output / "a.jsonl.answers.jsonl").stat().st_mtime_ns == written
    assert "a.jsonl: scored before, 20 rows" in capfd.readouterr().err


@pytest.mark.parametrize("change", ["input", "model", "parameters", "deleted"])
def test_what_has_changed_is_scored_anew(
    score: Callable[..., Scored],
    put: Callable[[str, Any], Path],
    sharp_checkpoint: Path,
    checkpoint: Path,
    change: str,
) -> None:
    file = put("a.jsonl", rows(20))
    before = score(sharp_checkpoint, [file]).answers("a.jsonl")
    if change == "input":
        put("a.jsonl", rows(9))
    elif change == "deleted":
        (file.parents[1] / "out/a.jsonl.answers.jsonl").unlink()
    options = {"PARAMETERS": '{"top_k": 2}'} if change == "parameters" else {}
    after = score(checkpoint if change == "model" else sharp_checkpoint, [file], **options).answers("a.jsonl")
    if change == "deleted":
        assert after == before
    else:
        assert after != before
        assert len(after) == (9 if change == "input" else 20)


def test_a_file_that_cannot_be_read_any_more_leaves_no_answers(
    score: Callable[..., Scored], put: Callable[[str, Any], Path], sharp_checkpoint: Path
) -> None:
    score(sharp_checkpoint, [put("a.csv", "text\nno gap\n")])
    scored = score(sharp_checkpoint, [put("a.csv", "one,two\nno gap,\n")])
    assert scored.files == ["a.csv.summary.json"]
    assert score(sharp_checkpoint, [put("a.csv", "text\nno gap\n")]).answers("a.csv") == ["missing_mask"]


# The parts


def kept(output: FileOutput, first: int, last: int, failed: bool = False) -> None:
    part: Part = output.part(first)
    for row in range(first, last + 1):
        part.write({"row": row, "error" if failed else "answer": row, "file": "a"})
    part.keep()


@given(
    cuts=st.lists(st.sets(st.integers(1, 11)), min_size=1, max_size=3), missing=st.sets(st.integers(0, 20), max_size=4)
)
def test_parts_of_several_processes_give_each_row_once(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[set[int]], missing: set[int]
) -> None:
    # Each process cuts the same twelve rows in its own way, and some of the parts are not there.
    output = FileOutput(tmp_path_factory.mktemp("parts"), "a", "hash" * 16)
    parts = {
        (first + 1, last) for cut in cuts for first, last in zip([0, *sorted(cut)], [*sorted(cut), 12], strict=True)
    }
    there = [part for index, part in enumerate(sorted(parts)) if index not in missing]
    for first, last in there:
        kept(output, first, last)
    reached = {0}
    for first, last in sorted(there):
        reached |= {last} if first - 1 in reached else set()
    done, failed = output.done()
    assert (done, failed) == (max(reached), 0)
    output.finish(Summary("a", done, 0, "model", "hash" * 16))
    found = [json.loads(line)["row"] for line in output.answers.read_text(encoding="utf-8").splitlines()]
    assert found == list(range(1, done + 1))


def test_rows_that_are_not_there_are_not_called_done(tmp_path: Path) -> None:
    output = FileOutput(tmp_path, "a", "hash" * 16)
    kept(output, 1, 3)
    kept(output, 4, 5, failed=True)
    for rows, failed in ((6, 2), (5, 1)):
        with pytest.raises(RuntimeError, match="score it again"):
            output.finish(Summary("a", rows, failed, "model", "hash" * 16))
    assert output.finished() is None
    output.finish(Summary("a", 5, 2, "model", "hash" * 16))
    assert output.finished() is not None
    assert [json.loads(line)["row"] for line in output.failed.read_text(encoding="utf-8").splitlines()] == [4, 5]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/in/a.csv", "a.csv"),
        ("/data/in/b/a.csv", "b/a.csv"),
        ("/mnt/azureml/cr/j/0f/cap/data-capability/wd/INPUT_asset/a/b.csv", "a/b.csv"),
        ("/mnt/azureml/cr/j/1e/cap/data-capability/wd/INPUT_asset/a/b.csv", "a/b.csv"),
    ],
)
def test_outputs_are_named_by_the_input_below_its_folder(path: str, name: str) -> None:
    assert name_of(Path(path), Path("/data/in")) == name
