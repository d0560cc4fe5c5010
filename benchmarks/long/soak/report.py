"""The report of the soak: a finding for each promise, and the page and the picture of docs/."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

REQUEST_THREADS = 256
"""The request threads of asset.local.server, which makes them as needed and keeps them."""

OTHER_THREADS = 32
SPARE_FILES = 8
"""Files that a server may open during the load and keep, such as for its first error or log line."""

NOISE_MB = 8.0
SHORTEST_MINUTES = 2.0
"""Memory is judged from this time on: before, buffers and the stacks of threads still grow to their size."""

NOISE_SHARE = 0.02
SCATTERS = 4
"""Growth of up to this many standard deviations of the samples around their trend is noise."""

GOOD_RUDE = {"200", "429", "504", "left"}


@dataclass(frozen=True)
class Finding:
    """A promise, whether it was kept, and the figures."""

    name: str
    kept: bool
    found: str

    def as_dict(self) -> dict[str, Any]:
        """Return the finding for JSON."""
        return asdict(self)


def judge(phase: Mapping[str, Any], deadline_ms: float) -> list[Finding]:
    """Return the findings of a phase, from its report (benchmarks.long.soak.phase)."""
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
    pids = {sample["pid"] for sample in (server["before"], *server["samples"], server["after"])}
    return Finding(f"{name}: the serving process did not change", len(pids) == 1, f"{len(pids)} process(es)")


def trend(samples: Sequence[Mapping[str, float]], key: str) -> tuple[float, float]:
    """Return the growth of a figure from the first sample to the last on the best line, and the scatter around the line.

    >>> trend([{"at": 0, "x": 1.0}, {"at": 10, "x": 2.0}, {"at": 20, "x": 3.0}], "x")
    (2.0, 0.0)
    """
    if len(samples) < 3:
        return 0.0, 0.0
    times, values = [sample["at"] for sample in samples], [sample[key] for sample in samples]
    line = statistics.linear_regression(times, values)
    off = [value - line.slope * at - line.intercept for at, value in zip(times, values, strict=True)]
    return line.slope * (times[-1] - times[0]), statistics.pstdev(off)


def _memory(name: str, samples: Sequence[Mapping[str, float]]) -> Finding:
    """Judge the growth of memory after the first third, in which buffers and threads are made."""
    steady = samples[len(samples) // 3 :]
    if len(steady) < 3:
        return Finding(f"{name}: memory grows by less than its noise", False, "too few samples")
    grown, scatter = trend(steady, "resident_mb")
    usual = statistics.median(sample["resident_mb"] for sample in steady)
    noise = max(NOISE_MB, NOISE_SHARE * usual, SCATTERS * scatter)
    minutes = (steady[-1]["at"] - steady[0]["at"]) / 60
    found = f"{usual:,.0f} MB, {grown:+.1f} MB in the last {minutes:.1f} minutes, noise {noise:.0f} MB"
    short = minutes < SHORTEST_MINUTES
    found += ": too short a time to judge" if short else ""
    return Finding(f"{name}: memory grows by less than its noise", short or grown <= noise, found)


def _files(name: str, server: Mapping[str, Any]) -> Finding:
    before, after = server["before"]["files"], server["after"]["files"]
    most = max((sample["files"] for sample in server["samples"]), default=0)
    found = f"{before} at rest before, {most} at most, {after} at rest after"
    return Finding(f"{name}: no open file is left", after <= before + SPARE_FILES, found)


def _threads(name: str, server: Mapping[str, Any]) -> Finding:
    most = max((sample["threads"] for sample in server["samples"]), default=server["after"]["threads"])
    bound = REQUEST_THREADS + OTHER_THREADS
    return Finding(f"{name}: no more threads than it is given", most <= bound, f"{most} at most, of {bound}")


def _rude(name: str, outcomes: Mapping[str, Mapping[str, int]]) -> Finding:
    odd = {way: {what: n for what, n in found.items() if what not in GOOD_RUDE} for way, found in outcomes.items()}
    odd = {way: found for way, found in odd.items() if found}
    shown = "; ".join(
        f"{way}: {', '.join(f'{n} x {what}' for what, n in found.items())}" for way, found in (odd or outcomes).items()
    )
    return Finding(
        f"{name}: clients that send or read slowly are answered or refused", not odd, shown or "no client came"
    )


# The page and the picture

ENCODERS = {
    "base": "models of the size of bert-base-cased and random weights.",
    "embedded": "the embedded model, and its encoder under heads of random weights for the other tasks.",
}
COLORS = {"200": "tab:green", "400": "tab:olive", "413": "tab:cyan", "429": "tab:orange", "504": "tab:red"}


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Draw the PNG: a row for each figure, over the minutes of all phases."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(5, 1, figsize=(11, 16), sharex=True, layout="constrained")
    _throughput(axes[0], report)
    _latency(axes[1], report)
    for axis, key, label in zip(
        axes[2:], ("resident_mb", "files", "threads"), ("memory, MB", "open files", "threads"), strict=True
    ):
        for name in report["tasks"]:
            points = [(at, sample[key]) for at, sample in _over(report, name, "samples")]
            axis.plot([at / 60 for at, _ in points], [value for _, value in points], label=name)
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize="x-small")
    for start, phase in _starts(report):
        for axis in axes:
            axis.axvline(start / 60, color="black", linewidth=0.6)
        axes[0].annotate(
            f"{phase['load']:g} x capacity", (start / 60, 0.93), xycoords=("data", "axes fraction"), fontsize="small"
        )
    axes[-1].set_xlabel("minutes of load")
    machine = report["machine"]
    figure.suptitle(f"{machine['cpu']}, {machine['threads']} threads, {machine['date']}")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _starts(report: Mapping[str, Any]) -> Iterator[tuple[float, Mapping[str, Any]]]:
    start = 0.0
    for phase in report["phases"]:
        yield start, phase
        start += phase["seconds"]


def _over(report: Mapping[str, Any], name: str, key: str) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """Yield the values of a server over the seconds of all phases."""
    for start, phase in _starts(report):
        for sample in phase["servers"].get(name, {}).get(key, []):
            yield start + sample["at"], sample


def _throughput(axis: Any, report: Mapping[str, Any]) -> None:  # noqa: ANN401 - matplotlib has no types
    statuses = sorted(
        {status for phase in report["phases"] for server in phase["servers"].values() for status in server["statuses"]}
    )
    minutes: list[float] = []
    heights: dict[str, list[float]] = {status: [] for status in statuses}
    for start, phase in _starts(report):
        for together in zip(*(server["over_time"] for server in phase["servers"].values()), strict=True):
            minutes.append((start + together[0]["at"]) / 60)
            for status in statuses:
                heights[status].append(sum(sample["per_second"].get(status, 0) for sample in together))
    colors = [COLORS.get(status, "black") for status in statuses]
    axis.stackplot(minutes, *heights.values(), labels=statuses, colors=colors, alpha=0.8)
    axis.set_ylabel("requests a second, by answer")
    axis.legend(fontsize="x-small", loc="lower right")


def _latency(axis: Any, report: Mapping[str, Any]) -> None:  # noqa: ANN401
    for name in report["tasks"]:
        for share, style in (("p50", ":"), ("p99", "-")):
            points = [
                (at, sample[share]) for at, sample in _over(report, name, "over_time") if sample[share] is not None
            ]
            axis.plot([at / 60 for at, _ in points], [value for _, value in points], style, label=f"{name} {share}")
    axis.axhline(report["deadline_ms"], color="tab:red", linewidth=0.8, linestyle="--", label="deadline")
    axis.set_yscale("log")
    axis.set_ylabel("latency of the 200s, ms (log)")
    axis.legend(fontsize="x-small", ncols=2)


def page(report: Mapping[str, Any], command: str) -> str:
    """Return the page in Markdown."""
    machine = report["machine"]
    minutes = report["phases"][0]["seconds"] / 60
    lines = [
        "# Under load for a long time",
        "",
        f"`{command}` loads a server for each of {', '.join(report['tasks'])},",
        f"open loop, for {minutes:g} minutes at each rate. The requests are short and long, have one or several rows, and",
        "some have mistakes. Beside them come clients that send or read slowly, that stay after half a request, or that",
        "leave before their answer. Capacity is the rate at which a server answers if it is asked as fast as it answers.",
        "",
        f"Measured on {machine['cpu']}, {machine['threads']} threads, {machine['date']}, commit {machine['commit']}, with",
        ENCODERS[report["model"]],
        "",
        "![throughput, latency, memory, open files and threads over time](soak.png)",
        "",
        "| load | server | offered a second | 200s a second | 429 | 504 | p50 ms | p99 ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for phase in report["phases"]:
        for name, server in phase["servers"].items():
            share = {status: count / sum(server["statuses"].values()) for status, count in server["statuses"].items()}
            rate = server["statuses"].get("200", 0) / phase["seconds"]
            cells = [f"{phase['load']:g} x", name, f"{server['offered_per_second']:,.0f}", f"{rate:,.0f}"]
            cells += [f"{share.get(status, 0):.1%}" for status in ("429", "504")]
            cells += ["" if server["ms"][key] is None else f"{server['ms'][key]:,.0f}" for key in ("p50", "p99")]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "The promises and the findings:",
        "",
        "| load | promise | kept | found |",
        "| --- | --- | --- | --- |",
    ]
    for phase in report["phases"]:
        for finding in phase["findings"]:
            kept = "yes" if finding["kept"] else "**no**"
            lines.append(f"| {phase['load']:g} x | {finding['name']} | {kept} | {finding['found']} |")
    return "\n".join(lines) + "\n"
