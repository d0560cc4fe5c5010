"""The part in process: the latency of every system at every point of the grid, in rounds.

In a round all systems answer the same batch in turn, each for a fraction of a second, so that other work of the machine
affects all systems alike. A figure is the median of the rounds' medians.
"""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.inputs import RAGGED, Batch, encode, points, sentences
from benchmarks.machine import OtherWork, needs
from benchmarks.peers.systems import OURS, OURS_FP32, OURS_TEXT, SYSTEMS
from benchmarks.workers import Member, WorkerError, hired

SLOW = 0.15
"""Calls of at least this many seconds have no warm-up, which would double the time; cold caches cost less."""

VERY_SLOW = 0.3
"""Calls of at least this many seconds have few rounds, and so have full heads: they take most of the time."""

FEW_ROUNDS = 2

TIE = 1e-3
"""Tokens whose probabilities differ by less than this share are equally good, and rounding may swap them."""

SENTENCE = "one sentence"
"""The point of the single sentences, one in each call, to compare with HTTP over one connection."""


@dataclass(frozen=True)
class Plan:
    """The rounds of a point, the least seconds of a turn, the grid, the systems, and whether to add the ragged batch."""

    rounds: int
    seconds: float
    grid: Sequence[tuple[int, int]]
    systems: Sequence[str]
    ragged: bool = True


class Disagreement(RuntimeError):
    """A system computes different answers, so its time means nothing."""


def same_answers(expected: dict[str, Any], found: dict[str, Any]) -> bool:
    """Return True if two answers have the same tokens, apart from tokens that are equally good.

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
    """Fill the report of a model folder point by point: `points` by name and system, `problems` by system, versions.

    Raises Disagreement if the answers of a system in fp32 differ from ours in fp32.
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
            report["agreement"] = {name: sum(counts) / rows for name, counts in same.items() if name in crew}
        if OURS_TEXT in crew:
            report["points"][SENTENCE] = {OURS_TEXT: _time_sentences(crew[OURS_TEXT], tokenizer, plan)}


def _ready(
    name: str, model: Path, cache: Path, threads: int, stack: contextlib.ExitStack, report: dict[str, Any]
) -> Member:
    """Start a worker and let it load its system.

    On the first call another worker makes the exports, since an export leaves gigabytes behind in its process.
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
    """Compare all systems' answers with ours in fp32 and count equal tokens; a system that fails leaves the crew."""
    if OURS_FP32 not in crew:
        return
    expected = crew[OURS_FP32].ask("answer", batch=batch.to_json())
    for name, member in list(crew.items()):
        try:
            answer = member.ask("answer", batch=batch.to_json())
        except WorkerError as exc:
            report["problems"][name] = f"at {point}: {exc}"
            del crew[name]
            continue
        if SYSTEMS[name].precision == "fp32" and not same_answers(expected, answer):
            raise Disagreement(
                f"{name} at {point} on {report['model']}: expected {OURS_FP32}'s tokens "
                f"{expected['tokens'][:8]}, found {answer['tokens'][:8]}"
            )
        same.setdefault(name, []).append(agreement(expected, answer) * len(batch.ids))


def _time_point(crew: dict[str, Member], batch: Batch, plan: Plan, report: dict[str, Any]) -> dict[str, Any]:
    calls: dict[str, list[list[float]]] = {name: [] for name in crew}
    for _ in range(plan.rounds):
        for name, member in list(crew.items()):
            last = statistics.median(calls[name][-1]) if calls[name] else 0.0
            if len(calls[name]) >= FEW_ROUNDS and (last >= VERY_SLOW or "full head" in name):
                continue
            # The check of the answers was the first call and warmed the system up.
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
    calls = []
    for text in sentences():
        batch = encode(tokenizer, [text]).to_json()
        calls.append(member.ask("time", batch=batch, seconds=plan.seconds / 4, warm_up=True)["seconds"])
    return summary(calls)


def summary(rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return the median of the rounds' medians in milliseconds, the fastest and the slowest median, and the calls.

    >>> summary([[0.001, 0.003], [0.004]])
    {'ms': 3.0, 'least_ms': 2.0, 'most_ms': 4.0, 'calls': 3}
    """
    medians = [statistics.median(calls) for calls in rounds]
    ms = [round(1e3 * seconds, 4) for seconds in (statistics.median(medians), min(medians), max(medians))]
    return {"ms": ms[0], "least_ms": ms[1], "most_ms": ms[2], "calls": sum(map(len, rounds))}


def ratios(point: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return each system's time divided by the time of ours in int8 at the same level.

    >>> ratios({"ours int8": {"ms": 2.0}, "OpenVINO int8": {"ms": 3.0}})
    {'ours int8': 1.0, 'OpenVINO int8': 1.5}
    """
    ours = {"ids": OURS, "text": OURS_TEXT}
    return {
        name: timed["ms"] / point[ours[SYSTEMS[name].level]]["ms"]
        for name, timed in point.items()
        if ours[SYSTEMS[name].level] in point
    }
