"""A worker that is killed under load: what it loses, and when the service is back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.load import Exchange
from benchmarks.long.killed_worker import Round, main
from benchmarks.long.soak.clients import Asked

ASKED = [Asked("a", "200")]
ALONE = {0: b'["a"]'}


def test_kills_under_load_lose_only_what_was_under_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--kills", "3", "--cache", str(tmp_path)])
    found = json.loads(capsys.readouterr().out)
    assert (status, found["problems"], found["kills"]) == (0, {}, 3)
    assert found["statuses"]["200"] > 100
    assert set(found["statuses"]) - {"200", "429", "504"} <= {
        "ConnectionResetError",
        "IncompleteReadError",
        "BrokenPipeError",
    }


def exchange(sent: float, ended: float, status: str, content: bytes = b'["a"]') -> Exchange:
    return Exchange(0, sent, sent, ended, status, content)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ([], None),
        ([exchange(9.9, 10.1, "ConnectionResetError")], None),
        ([exchange(10.5, 11.0, "429")], None),
        ([exchange(10.5, 11.0, "500")], "500 instead of 200"),
        ([exchange(10.5, 11.0, "200", b'["b"]')], "a wrong answer"),
        ([exchange(9.9, 9.95, "ConnectionResetError")], "lost -0.05 s from the kill"),
        ([exchange(9.9, 12.0, "ConnectionResetError")], "lost +2.00 s from the kill"),
        ([exchange(9.9, 10.1, "no answer")], "lost as no answer"),
        (
            [exchange(9.9, 10.1, "IncompleteReadError"), exchange(10.2, 10.3, "IncompleteReadError")],
            "lost though it was sent after the worker's end",
        ),
    ],
)
def test_what_was_not_as_promised_is_said(more: list[Exchange], problem: str | None) -> None:
    found = Round(10.0, [exchange(9.0, 9.1, "200"), exchange(10.2, 11.5, "200"), *more])
    assert found.problems(ASKED, ALONE, 3.0) == ([problem] if problem else [])


def test_a_service_that_is_late_is_said() -> None:
    assert Round(10.0, [exchange(10.2, 14.0, "200")]).problems(ASKED, ALONE, 3.0) == ["back after 4.00 s, of 3.00 s"]
    assert Round(10.0, [exchange(9.0, 9.1, "200")]).problems(ASKED, ALONE, 3.0) == ["back after never, of 3.00 s"]
