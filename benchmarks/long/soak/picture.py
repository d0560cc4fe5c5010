"""The soak's picture and page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ENCODERS = {
    "base": "models of the size of bert-base-cased and random weights.",
    "embedded": "the embedded model, and its encoder under heads of random weights for the other tasks.",
}
COLORS = {"200": "tab:green", "400": "tab:olive", "413": "tab:cyan", "429": "tab:orange", "504": "tab:red"}


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Write the PNG: one row a figure, over the minutes of all phases."""
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
            points = [(at, one[key]) for at, one in _over(report, name, "samples")]
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
    """Yield what there is of a server over the seconds of all phases."""
    for start, phase in _starts(report):
        for one in phase["servers"].get(name, {}).get(key, []):
            yield start + one["at"], one


def _throughput(axis: Any, report: Mapping[str, Any]) -> None:  # noqa: ANN401 - matplotlib's is untyped
    statuses = sorted(
        {status for phase in report["phases"] for server in phase["servers"].values() for status in server["statuses"]}
    )
    minutes: list[float] = []
    heights: dict[str, list[float]] = {status: [] for status in statuses}
    for start, phase in _starts(report):
        for together in zip(*(server["over_time"] for server in phase["servers"].values()), strict=True):
            minutes.append((start + together[0]["at"]) / 60)
            for status in statuses:
                heights[status].append(sum(one["per_second"].get(status, 0) for one in together))
    colors = [COLORS.get(status, "black") for status in statuses]
    axis.stackplot(minutes, *heights.values(), labels=statuses, colors=colors, alpha=0.8)
    axis.set_ylabel("requests a second, by answer")
    axis.legend(fontsize="x-small", loc="lower right")


def _latency(axis: Any, report: Mapping[str, Any]) -> None:  # noqa: ANN401
    for name in report["tasks"]:
        for share, style in (("p50", ":"), ("p99", "-")):
            points = [(at, one[share]) for at, one in _over(report, name, "over_time") if one[share] is not None]
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
        f"`{command}` loads, open loop, for {minutes:g} minutes at each rate, a server each for",
        f"{', '.join(report['tasks'])}. The requests are short and long, of one row and of several, with mistakes among",
        "them; and beside them come clients that send or read slowly, that stay after half a request, and that are gone",
        "before their answer. Capacity is what the servers that are up answer when each is asked as fast as it can answer.",
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
        "What is promised, and what was found:",
        "",
        "| load | promise | kept | found |",
        "| --- | --- | --- | --- |",
    ]
    for phase in report["phases"]:
        for finding in phase["findings"]:
            kept = "yes" if finding["kept"] else "**no**"
            lines.append(f"| {phase['load']:g} x | {finding['name']} | {kept} | {finding['found']} |")
    return "\n".join(lines) + "\n"
