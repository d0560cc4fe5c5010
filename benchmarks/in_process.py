"""Latency in process: every system on every point of the grid, in rounds.

In a round each system answers the same batch in turn, for a fraction of a second each, so that whatever else the
machine does meets all of them alike. A figure is the median of the rounds' medians.
"""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ceiling import needs
from benchmarks.crew import Member, WorkerError, hired
from benchmarks.inputs import RAGGED, Batch, encode, points, sentences
from benchmarks.machine import OtherWork
from benchmarks.peers import OURS, OURS_FP32, OURS_TEXT, SYSTEMS

SLOW = 0.15
"""Seconds of a call from which a turn goes without a warm-up: it would double the time, and cold caches cost less."""

VERY_SLOW = 0.3
"""Seconds of a call from which, as for the full heads, a few rounds have to do: they take most of the time."""

FEW_ROUNDS = 2

TIE = 1e-3
"""Two tokens whose probabilities differ by less than this share are equally good, and rounding may swap them."""

SENTENCE = "one sentence"
"""The single sentences, one call each: what HTTP with one connection is compared with."""


@dataclass(frozen=True)
class Plan:
    """How much is measured: rounds a point, the least seconds of a turn, the grid, with the ragged batch or not."""

    rounds: int
    seconds: float
    grid: Sequence[tuple[int, int]]
    systems: Sequence[str]
    ragged: bool = True


class Disagreement(RuntimeError):
    """A system computes something else, and its time says nothing."""


def same_answers(expected: dict[str, Any], found: dict[str, Any]) -> bool:
    """Tell whether two answers name the same tokens, those aside that are as good as each other.

    >>> same_answers({"tokens": [5], "scores": [0.5]}, {"tokens": [6], "scores": [0.4999]})
    True
    """
    rows = zip(expected["tokens"], found["tokens"], expected["scores"], found["scores"], strict=True)
    return all(a == b or abs(p - q) <= TIE * max(p, q) for a, b, p, q in rows)


def agreement(expected: dict[str, Any], found: dict[str, Any]) -> float:
    """Return the share of rows with the same token."""
    same = [a == b for a, b in zip(expected["tokens"], found["tokens"], strict=True)]
    return sum(same) / len(same)


def measure(
    model: Path, cache: Path, threads: int, plan: Plan, say: Callable[[str], None], report: dict[str, Any]
) -> None:
    """Fill the report of a model folder, point by point: `points` by name and system, `problems` by system, versions.

    Raises Disagreement where a system in fp32 answers otherwise than ours in fp32.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    batches = points(tokenizer, plan.grid)
    if not plan.ragged:
        del batches[RAGGED]
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    report |= {
        "model": model.name,
        "config": config,
        "shapes": {name: {"rows": len(b.ids), "tokens": b.tokens} for name, b in batches.items()},
        "needs": {name: needs(config, batch) for name, batch in batches.items()},
        **{part: {} for part in ("versions", "problems", "points", "agreement", "other_work")},
    }
    with contextlib.ExitStack() as stack:
        crew: dict[str, Member] = {}
        for name in plan.systems:
            say(f"{model.name}: preparing {name}")
            try:
                crew[name] = _ready(name, model, cache, threads, stack, report)
            except WorkerError as exc:
                report["problems"][name] = str(exc)
                say(f"{name} is left out: {exc}")
        same: dict[str, list[float]] = {}
        for point, batch in batches.items():
            say(f"{model.name}: {point}")
            _check(crew, point, batch, report, same)
            others = OtherWork()
            report["points"][point] = _time_point(crew, batch, plan, report)
            report["other_work"][point] = others.share()
            rows = sum(len(batches[done].ids) for done in report["points"])
            report["agreement"] = {name: sum(found) / rows for name, found in same.items() if name in crew}
        if OURS_TEXT in crew:
            report["points"][SENTENCE] = {OURS_TEXT: _time_sentences(crew[OURS_TEXT], tokenizer, plan)}


def _ready(
    name: str, model: Path, cache: Path, threads: int, stack: contextlib.ExitStack, report: dict[str, Any]
) -> Member:
    """Start a worker and let it load its system.

    At the first time another worker makes what is kept: an export leaves gigabytes behind in the process that did it.
    """
    job = {"system": name, "model": str(model), "cache": str(cache), "threads": threads}
    made = cache / f"made {name}"
    if not made.exists():
        with hired(name, SYSTEMS[name].environment, threads, cache / "logs") as maker:
            maker.ask("prepare", **job)
        made.touch()
    member = stack.enter_context(hired(name, SYSTEMS[name].environment, threads, cache / "logs"))
    report["versions"] |= member.ask("prepare", **job)["versions"]
    return member


def _check(
    crew: dict[str, Member], point: str, batch: Batch, report: dict[str, Any], same: dict[str, list[float]]
) -> None:
    """Compare every system's answers with ours in fp32 and count equal tokens; systems that fail leave the crew."""
    if OURS_FP32 not in crew:
        return
    expected = crew[OURS_FP32].ask("answer", batch=batch.to_json())
    for name, member in list(crew.items()):
        try:
            found = member.ask("answer", batch=batch.to_json())
        except WorkerError as exc:
            report["problems"][name] = f"at {point}: {exc}"
            del crew[name]
            continue
        if SYSTEMS[name].precision == "fp32" and not same_answers(expected, found):
            raise Disagreement(
                f"{name} at {point} on {report['model']}: expected {OURS_FP32}'s tokens "
                f"{expected['tokens'][:8]}, found {found['tokens'][:8]}"
            )
        same.setdefault(name, []).append(agreement(expected, found) * len(batch.ids))


def _time_point(crew: dict[str, Member], batch: Batch, plan: Plan, report: dict[str, Any]) -> dict[str, Any]:
    calls: dict[str, list[list[float]]] = {name: [] for name in crew}
    for _ in range(plan.rounds):
        for name, member in list(crew.items()):
            last = statistics.median(calls[name][-1]) if calls[name] else 0.0
            if len(calls[name]) >= FEW_ROUNDS and (last >= VERY_SLOW or "full head" in name):
                continue
            # The first call of all was the one whose answer was checked.
            warm_up = bool(calls[name]) and last < SLOW
            try:
                answer = member.ask("time", batch=batch.to_json(), seconds=plan.seconds, warm_up=warm_up)
            except WorkerError as exc:
                report["problems"][name] = f"while it was timed: {exc}"
                del crew[name]
                continue
            calls[name].append(answer["seconds"])
    return {name: summary(rounds) for name, rounds in calls.items() if rounds}


def _time_sentences(member: Member, tokenizer: Any, plan: Plan) -> dict[str, float]:  # noqa: ANN401
    found = []
    for text in sentences():
        batch = encode(tokenizer, [text]).to_json()
        found.append(member.ask("time", batch=batch, seconds=plan.seconds / 4, warm_up=True)["seconds"])
    return summary(found)


def summary(rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return the median of the rounds' medians in milliseconds, the fastest and slowest round's, and the calls.

    >>> summary([[0.001, 0.003], [0.004]])
    {'ms': 3.0, 'least_ms': 2.0, 'most_ms': 4.0, 'calls': 3}
    """
    medians = [statistics.median(calls) for calls in rounds]
    ms = [round(1e3 * seconds, 4) for seconds in (statistics.median(medians), min(medians), max(medians))]
    return {"ms": ms[0], "least_ms": ms[1], "most_ms": ms[2], "calls": sum(map(len, rounds))}


def ratios(point: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return how many times as long as ours in int8 each system of the same level takes.

    >>> ratios({"ours int8": {"ms": 2.0}, "OpenVINO int8": {"ms": 3.0}})
    {'ours int8': 1.0, 'OpenVINO int8': 1.5}
    """
    ours = {"ids": OURS, "text": OURS_TEXT}
    return {
        name: timed["ms"] / point[ours[SYSTEMS[name].level]]["ms"]
        for name, timed in point.items()
        if ours[SYSTEMS[name].level] in point
    }
