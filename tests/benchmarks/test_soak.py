"""The soak on the real servers of all tasks, for some seconds; and that its verdict notices what it is there for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load import Exchange
from benchmarks.long.soak.__main__ import main
from benchmarks.long.soak.clients import Asked, same, traffic
from benchmarks.long.soak.phase import Record
from benchmarks.long.soak.report import judge, trend
from serving.tasks import TASKS

DEADLINE_MS = 4000.0


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """Load three servers at once, at twice what they can sustain."""
    folder = tmp_path_factory.mktemp("soak")
    options = ["--minutes", "0.15", "--rate", "2", "--rude", "6", "--model", "embedded", "--together"]
    return main([*options, "--cache", str(folder / "cache"), "--output", str(folder / "out")]), folder / "out"


def test_a_short_soak_of_all_tasks_loses_and_leaks_nothing(soaked: tuple[int, Path]) -> None:
    report = json.loads((soaked[1] / "soak.json").read_bytes())
    [phase] = report["phases"]
    assert set(phase["servers"]) == set(report["capacity"]) == set(TASKS)
    found = {one["name"]: one for one in phase["findings"]}
    # How fast answers come is for a quiet machine to say.
    steady = [one for name, one in found.items() if "p99" not in name]
    assert [one for one in steady if not one["kept"]] == []
    assert len(steady) == 6 * len(TASKS)
    assert all("too short a time to judge" in one["found"] for name, one in found.items() if "memory" in name)
    assert soaked[0] == (0 if all(one["kept"] for one in found.values()) else 1)
    for server in phase["servers"].values():
        assert set(server["statuses"]) <= {"200", "400", "413", "429", "504"}
        assert min(server["statuses"]["200"], server["statuses"]["400"]) > 0
        assert len(server["samples"]) > 10
        assert len(server["rude_clients"]) > 2


def test_it_is_told_on_a_page_with_a_picture(soaked: tuple[int, Path]) -> None:
    page = (soaked[1] / "soak.md").read_text(encoding="utf-8")
    assert page.count("| 2 x |") == len(TASKS) * (1 + 7)
    assert "![throughput" in page and "](soak.png)" in page
    assert (soaked[1] / "soak.png").read_bytes().startswith(b"\x89PNG")


def good() -> dict[str, Any]:
    """Return a phase in which all is well."""
    samples = [
        {"at": 10.0 * at, "pid": 7, "resident_mb": 300.0 + at % 3, "files": 40 + at % 5, "threads": 200}
        for at in range(90)
    ]
    rest = {"at": 0.0, "pid": 7, "resident_mb": 290.0, "files": 11, "threads": 30}
    server = {
        "statuses": {"200": 900, "429": 100},
        "unexpected": {},
        "wrong_answers": 0,
        "ms": {"p50": 20.0, "p99": 900.0, "p100": 1000.0},
        "rude_clients": {"slow sender": {"200": 3, "429": 1}},
        "before": rest,
        "after": rest | {"files": 12},
        "samples": samples,
    }
    return {"servers": {"ours": server}}


def leak(server: dict[str, Any]) -> None:
    for one in server["samples"]:
        one["resident_mb"] += one["at"] / 20


def restart(server: dict[str, Any]) -> None:
    server["after"] = server["after"] | {"pid": 8}


@pytest.mark.parametrize(
    ("spoil", "noticed"),
    [
        (lambda server: server["unexpected"].update({"500 instead of 200": 1}), "each request gets its status"),
        (lambda server: server.update(wrong_answers=1), "each request gets its status"),
        (lambda server: server["ms"].update(p99=4100.0), "p99 of the 200s"),
        (restart, "the serving process did not change"),
        (leak, "memory grows"),
        (lambda server: server["after"].update(files=40), "no open file is left"),
        (lambda server: server["samples"][50].update(threads=400), "no more threads"),
        (
            lambda server: server["rude_clients"]["slow sender"].update({"no answer": 1}),
            "clients that send or read slowly",
        ),
    ],
)
def test_each_kind_of_trouble_is_noticed_and_nothing_else(spoil: Callable[[Any], None], noticed: str) -> None:
    phase = good()
    assert [one for one in judge(phase, DEADLINE_MS) if not one.kept] == []
    spoil(phase["servers"]["ours"])
    [found] = [one for one in judge(phase, DEADLINE_MS) if not one.kept]
    assert noticed in found.name


def test_a_trend_is_told_from_scatter() -> None:
    grown, scatter = trend([{"at": 10.0 * n, "x": 2.0 * n + (-1) ** n} for n in range(100)], "x")
    assert (grown, scatter) == (pytest.approx(198, abs=1), pytest.approx(1, abs=0.01))


def test_answers_are_counted_by_what_was_asked() -> None:
    asked = [Asked("a", "200"), Asked("b", "400")]
    record = Record(asked, began=100.0, seconds=10.0, bins=2)
    record.expect(0, b'[{"score": 0.5}]')
    for body, status, content in (
        (0, "200", b'[{"score": 0.501}]'),
        (0, "200", b'[{"score": 0.6}]'),
        (0, "429", b""),
        (1, "400", b""),
        (1, "504", b""),
        (1, "200", b"[]"),
        (0, "no answer", b""),
    ):
        record.add(Exchange(body, 101.0, 101.0, 101.5, status, content))
    assert record.wrong == 1
    assert record.unexpected == Counter({"200 instead of 400": 1, "no answer instead of 200": 1})
    found = record.report()
    assert found["statuses"]["200"] == 3
    assert found["ms"]["p99"] == 500.0
    assert found["over_time"][0]["per_second"]["429"] == 0.2
    assert found["over_time"][1]["p99"] is None


@pytest.mark.parametrize("task", TASKS)
def test_traffic_is_the_same_in_every_run_and_has_all_kinds(task: str) -> None:
    asked = traffic(task, 17)
    assert asked == traffic(task, 17) != traffic(task, 18)
    statuses = Counter(one.status for one in asked)
    assert statuses["200"] == 0.95 * len(asked) and statuses["400"] > 0
    lengths = sorted(len(one.body) for one in asked if one.status == "200")
    assert lengths[-1] > 10 * lengths[0]


def test_other_words_are_another_answer() -> None:
    assert same(["capital"], ["capital"]) and not same(["capital"], ["center"])
    assert not same([1], [1, 2]) and not same({"a": 1.0}, {"b": 1.0})
