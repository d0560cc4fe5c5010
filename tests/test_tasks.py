"""What the code knows of a task is in the table of tasks and in the task's own modules, so that a new task touches no others."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
CHECKED = ("serving", "evaluation", "finetune", "deployment", "asset", "tables")
"""Folders whose files know tasks by the table only."""

OWN = {facts.module for facts in TASKS.values()}
"""Names of the modules that belong to one task, such as serving/answering/fill_mask.py."""


def files() -> Iterator[Path]:
    """Yield the checked files, without the table of tasks and the tasks' own modules."""
    for folder in CHECKED:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path != ROOT / "serving/tasks.py" and path.stem not in OWN:
                yield path


def names_task(node: ast.AST) -> bool:
    """Return whether an expression is a task's name, or a list, set or tuple with one in it."""
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return any(map(names_task, node.elts))
    return isinstance(node, ast.Constant) and node.value in TASKS


def branches(code: str) -> list[int]:
    """Return the lines of code that compare something with a task's name, or have a dict with tasks as its keys."""
    lines = []
    for node in ast.walk(ast.parse(code)):
        compared = isinstance(node, ast.Compare) and any(map(names_task, [node.left, *node.comparators]))
        matched = isinstance(node, ast.MatchValue) and names_task(node.value)
        keyed = isinstance(node, ast.Dict) and any(key is not None and names_task(key) for key in node.keys)
        if compared or matched or keyed:
            lines.append(node.lineno)
    return sorted(lines)


def test_only_the_table_and_a_tasks_own_modules_name_it() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}" for path in files() for line in branches(path.read_text(encoding="utf-8"))
    ]
    assert found == [], "look the task up in serving.tasks.TASKS, or move the code to the task's own module"


@pytest.mark.parametrize(
    "code",
    [
        'if task == "fill-mask":\n    pass',
        'x = task in ("text-classification", "other")',
        'HEADS = {"question-answering": 1}',
        'match task:\n    case "fill-mask":\n        pass',
    ],
)
def test_a_branch_on_a_task_is_found(code: str) -> None:
    assert len(branches(code)) == 1
    for task in TASKS:
        code = code.replace(f'"{task}"', '"another"')
    assert branches(code) == []
