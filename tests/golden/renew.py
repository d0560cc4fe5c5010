"""Renew the answers that tests/golden/test_golden.py holds the engine to, after a change that is meant to change them.

    .venv/dev/bin/python -m tests.golden.renew             show what differs from the files; asks before it writes
    .venv/dev/bin/python -m tests.golden.renew --write     show it, and write
    .venv/dev/bin/python -m tests.golden.renew --check     show it, and end with status 1 where anything differs

What this machine cannot run (tests.golden.answers.unavailable) keeps its answers on file, as long as the model is the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from serving.tasks import Task
from tests.golden.answers import (
    FOLDER,
    PRECISIONS,
    REQUESTS,
    TASKS,
    answer,
    differences,
    fingerprint,
    model_folder,
    service,
    unavailable,
)


def answers_of(task: Task, place: Path, kept: dict[str, Any]) -> dict[str, Any]:
    """Return what the file of a task should hold; raises RuntimeError where this machine cannot tell."""
    folder = model_folder(task, place)
    model = fingerprint(folder)
    made: dict[str, Any] = {}
    for name in PRECISIONS:
        reason = unavailable(name)
        if reason is None:
            made[name] = [answer(service(folder, name), body) for body in REQUESTS[task]]
        elif model == kept.get("model"):
            made[name] = kept["answers"][name]
        else:
            raise RuntimeError(f"{task}: the model has changed, and {name} cannot be run here: {reason}")
    return {"model": model, "answers": made}


def kept_of(task: Task) -> dict[str, Any]:
    """Return what is on file for a task."""
    file = FOLDER / f"{task}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"model": None, "answers": {}}


def compare(task: Task, kept: dict[str, Any], made: dict[str, Any]) -> list[str]:
    """Return a task's differences, a line each; those within rounding are marked."""
    told = [] if kept["model"] == made["model"] else [f"{task}: model {kept['model']} -> {made['model']}"]
    for name, answers in made["answers"].items():
        for index, (before, after) in enumerate(zip(kept["answers"].get(name, [None] * 99), answers, strict=False)):
            far = set(differences(before, after, PRECISIONS[name]))
            for text in differences(before, after):
                told.append(f"{task} {name} request {index}{text}{'' if text in far else '   (rounding)'}")
    return told


def main(arguments: list[str] | None = None) -> int:
    """Show, ask, write; return 1 where something differs and was not written."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.renew", description=__doc__.split("\n")[0])
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--write", action="store_true", help="write without asking")
    how.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        kept = {task: kept_of(task) for task in TASKS}
        made = {task: answers_of(task, Path(place), kept[task]) for task in TASKS}
    told = [line for task in TASKS for line in compare(task, kept[task], made[task])]
    sys.stdout.write("".join(f"{line}\n" for line in told) or "nothing differs\n")
    if not told and all((FOLDER / f"{task}.json").exists() for task in TASKS):
        return 0
    asked = not options.write and not options.check and sys.stdin.isatty()
    if not options.write and not (asked and input("write these? [y/N] ").lower() == "y"):
        return 1
    for task in TASKS:
        text = json.dumps(made[task], indent=1, ensure_ascii=False)
        (FOLDER / f"{task}.json").write_text(f"{text}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
