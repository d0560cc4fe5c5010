"""Whether a soak is passed: each thing that is promised, what was found, and the bound."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

REQUEST_THREADS = 256
"""Of asset.local.server; the server makes them as they are needed, and keeps them."""

OTHER_THREADS = 32
SPARE_FILES = 8
"""Open files that a server at rest may have more than before the load: what it opens at its first error, or log."""

NOISE_MB = 8.0
SHORTEST_MINUTES = 2.0
"""In which memory is judged: before, buffers and the stacks of threads still come to their size."""

NOISE_SHARE = 0.02
SCATTERS = 4
"""Memory may seem to grow by so many standard deviations of the samples around their trend."""

GOOD_RUDE = {"200", "429", "504", "left"}


@dataclass(frozen=True)
class Finding:
    """One promise: whether it was kept, and the figures."""

    name: str
    kept: bool
    found: str

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def judge(phase: Mapping[str, Any], deadline_ms: float) -> list[Finding]:
    """Return what is found of a phase's report (`benchmarks.long.soak.phase`)."""
    findings = []
    for name, server in phase["servers"].items():
        findings += [
            _answers(name, server),
            _in_time(name, server, deadline_ms),
            _same_process(name, server),
            _memory(name, server["samples"]),
            _files(name, server),
            _threads(name, server),
            _rude(name, server["rude_clients"]),
        ]
    return findings


def _answers(name: str, server: Mapping[str, Any]) -> Finding:
    counted = ", ".join(f"{count:,} x {status}" for status, count in sorted(server["statuses"].items()))
    odd = [*(f"{count} x {what}" for what, count in server["unexpected"].items())]
    odd += [f"{server['wrong_answers']} answers that differ from those alone"] if server["wrong_answers"] else []
    return Finding(
        f"{name}: each request gets its status, or 429 or 504", not odd, "; ".join(odd) or counted or "nothing"
    )


def _in_time(name: str, server: Mapping[str, Any], deadline_ms: float) -> Finding:
    p99 = server["ms"]["p99"]
    found = "no answer" if p99 is None else f"{p99:,.0f} ms"
    return Finding(
        f"{name}: p99 of the 200s is below {deadline_ms:,.0f} ms", p99 is not None and p99 < deadline_ms, found
    )


def _same_process(name: str, server: Mapping[str, Any]) -> Finding:
    pids = {one["pid"] for one in (server["before"], *server["samples"], server["after"])}
    return Finding(f"{name}: the process that began is the one that ended", len(pids) == 1, f"{len(pids)} process(es)")


def trend(samples: Sequence[Mapping[str, float]], key: str) -> tuple[float, float]:
    """Return how much a figure grows from the first sample to the last on the line that fits best, and the scatter around it.

    >>> trend([{"at": 0, "x": 1.0}, {"at": 10, "x": 2.0}, {"at": 20, "x": 3.0}], "x")
    (2.0, 0.0)
    """
    if len(samples) < 3:
        return 0.0, 0.0
    times, values = [one["at"] for one in samples], [one[key] for one in samples]
    line = statistics.linear_regression(times, values)
    off = [value - line.slope * at - line.intercept for at, value in zip(times, values, strict=True)]
    return line.slope * (times[-1] - times[0]), statistics.pstdev(off)


def _memory(name: str, samples: Sequence[Mapping[str, float]]) -> Finding:
    """Leave out the first third, in which buffers and threads are made."""
    steady = samples[len(samples) // 3 :]
    if len(steady) < 3:
        return Finding(f"{name}: memory grows by less than its noise", False, "too few samples")
    grown, scatter = trend(steady, "resident_mb")
    usual = statistics.median(one["resident_mb"] for one in steady)
    noise = max(NOISE_MB, NOISE_SHARE * usual, SCATTERS * scatter)
    minutes = (steady[-1]["at"] - steady[0]["at"]) / 60
    found = f"{usual:,.0f} MB, {grown:+.1f} MB in the last {minutes:.1f} minutes, noise {noise:.0f} MB"
    short = minutes < SHORTEST_MINUTES
    found += ": too short a time to judge" if short else ""
    return Finding(f"{name}: memory grows by less than its noise", short or grown <= noise, found)


def _files(name: str, server: Mapping[str, Any]) -> Finding:
    before, after = server["before"]["files"], server["after"]["files"]
    most = max((one["files"] for one in server["samples"]), default=0)
    found = f"{before} at rest before, {most} at most, {after} at rest after"
    return Finding(f"{name}: no open file is left", after <= before + SPARE_FILES, found)


def _threads(name: str, server: Mapping[str, Any]) -> Finding:
    most = max((one["threads"] for one in server["samples"]), default=server["after"]["threads"])
    bound = REQUEST_THREADS + OTHER_THREADS
    return Finding(f"{name}: no more threads than it is given", most <= bound, f"{most} at most, of {bound}")


def _rude(name: str, outcomes: Mapping[str, Mapping[str, int]]) -> Finding:
    odd = {way: {what: n for what, n in found.items() if what not in GOOD_RUDE} for way, found in outcomes.items()}
    odd = {way: found for way, found in odd.items() if found}
    shown = "; ".join(
        f"{way}: {', '.join(f'{n} x {what}' for what, n in found.items())}" for way, found in (odd or outcomes).items()
    )
    return Finding(f"{name}: who sends or reads slowly is answered or refused", not odd, shown or "none came")
