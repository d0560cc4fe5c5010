"""Each task's model gives the answers that are on file, in each precision that this machine has.

`.venv/dev/bin/python -m tests.golden.renew` shows what a change of the model or the engine did to them, and writes them anew.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from serving.tasks import Task
from tests.golden import checkpoints, renew
from tests.golden.answers import (
    FOLDER,
    PRECISIONS,
    REQUESTS,
    ROOT,
    TASKS,
    answer,
    differences,
    fingerprint,
    model_folder,
    service,
    unavailable,
)

RENEW = "look at the differences and renew the answers: .venv/dev/bin/python -m tests.golden.renew"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden")


@pytest.mark.parametrize("task", TASKS)
def test_the_answers_on_file_are_those_of_this_model(task: Task, place: Path) -> None:
    assert renew.kept_of(task)["model"] == fingerprint(model_folder(task, place)), f"the model is another; {RENEW}"


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("task", TASKS)
def test_the_answers_are_those_on_file(task: Task, precision: str, place: Path) -> None:
    reason = unavailable(precision)
    if reason:
        pytest.skip(reason)
    kept = renew.kept_of(task)["answers"][precision]
    served = service(model_folder(task, place), precision)
    found = [answer(served, body) for body in REQUESTS[task]]
    told = differences(kept, found, PRECISIONS[precision])
    assert told == [], RENEW


@pytest.mark.parametrize("task", TASKS)
def test_another_precision_does_not_pass_for_fp32(task: Task) -> None:
    kept = renew.kept_of(task)["answers"]
    for precision in ("int8-onnxruntime", "int8-native"):
        assert differences(kept["fp32"], kept[precision], PRECISIONS["fp32"])


@pytest.mark.parametrize("task", ["text-classification", "question-answering"])
def test_the_tiny_models_are_the_same_bytes_each_time(task: Task, tmp_path: Path) -> None:
    folders = [checkpoints.write(tmp_path / name, task) for name in ("one", "other")]
    assert fingerprint(folders[0]) == fingerprint(folders[1])


def test_differences_are_found_and_rounding_is_not() -> None:
    near = PRECISIONS["fp32"]
    one = [[{"token_str": "a", "token": 7, "score": 0.5}, {"token_str": "b", "token": 8, "score": 0.25}]]
    other = copy.deepcopy(one)
    other[0][0]["score"] += 1e-4
    assert differences(one, other, near) == []
    assert differences(one, other) == ["[0] a 7: 0.5 -> 0.5001"]
    other[0][0]["score"] = 0.51
    assert differences(one, other, near) == ["[0] a 7: 0.5 -> 0.51"]
    swapped = [[{"token_str": "a", "token": 7, "score": 0.5}, {"token_str": "c", "token": 9, "score": 0.24999}]]
    assert differences(one, swapped, near) == []  # which of two equals is in the list is rounding too
    assert differences(one, swapped) == ["[0] b 8: 0.25 -> none", "[0] c 9: none -> 0.24999"]
    swapped[0][1]["score"] = 0.4
    assert differences(one, swapped, near) == ["[0] b 8: 0.25 -> none", "[0] c 9: none -> 0.4"]
    assert differences(["capital", 1.0], ["city", 1.0], near) == ['[0]: "capital" -> "city"']
    assert differences([1], [1, 2], near) == [": [1] -> [1, 2]"]
    assert differences(one, [one[0][:1]], near) == ["[0]: 2 candidates -> 1"]


def test_renewing_shows_the_difference_and_writes_only_what_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # One small model, in one precision, on file with one answer changed.
    task: Task = "text-classification"
    kept = renew.kept_of(task)
    monkeypatch.setattr(renew, "FOLDER", tmp_path)
    monkeypatch.setattr(renew, "TASKS", (task,))
    monkeypatch.setattr(renew, "PRECISIONS", {"fp32": PRECISIONS["fp32"]})
    monkeypatch.setattr(sys, "stdin", open("/dev/null", encoding="utf-8"))  # nobody to ask
    file = tmp_path / f"{task}.json"
    wrong = copy.deepcopy({"model": kept["model"], "answers": {"fp32": kept["answers"]["fp32"]}})
    wrong["answers"]["fp32"][0][0][0]["score"] = 0.125
    file.write_text(json.dumps(wrong), encoding="utf-8")
    for arguments in ([], ["--check"]):
        assert renew.main(arguments) == 1
        assert "text-classification fp32 request 0[0] " in capsys.readouterr().out
        assert json.loads(file.read_text(encoding="utf-8")) == wrong
    assert renew.main(["--write"]) == 0
    assert ": 0.125 -> 0." in capsys.readouterr().out
    assert renew.main(["--check"]) == 0
    assert capsys.readouterr().out == "nothing differs\n"


def test_the_command_is_run_from_the_root() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden.renew", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--write" in done.stdout
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(TASKS)
