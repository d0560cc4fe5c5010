"""The report: Markdown that also reads well on a terminal, and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.in_process import SENTENCE, ratios
from benchmarks.machine import floor_seconds
from benchmarks.peers.systems import OURS, OURS_TEXT, SYSTEMS
from benchmarks.servers import AZUREML, LITSERVE, NO_OP
from benchmarks.servers import OURS as OUR_SERVER

Rows = Sequence[Sequence[str]]

DISTURBING = 0.03
"""The share of the CPU time that other processes may use without a warning."""


def table(header: Sequence[str], rows: Rows) -> list[str]:
    """Return a Markdown table with aligned columns, numbers to the right.

    >>> table(["system", "ms"], [["ours", "4.5"]])
    ['| system |  ms |', '| ------ | --: |', '| ours   | 4.5 |']
    """
    widths = [max(3, *(len(row[column]) for row in (header, *rows))) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width if not column else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return [line(header), f"| {' | '.join(rule)} |", *map(line, rows)]


def number(value: float | None) -> str:
    """Write a number with three significant digits, without decimals from 100 on.

    >>> [number(value) for value in (4.5678, 45.678, 456.78, None)]
    ['4.57', '45.7', '457', '']
    """
    if value is None:
        return ""
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"


def render(report: Mapping[str, Any]) -> str:
    """Return the report; a part that was not measured is missing, and its reason is given if there is one."""
    lines = list(_header(report["machine"]))
    ceiling = report.get("ceiling", {})
    if "int8_tops" in ceiling:
        lines += ["", f"Hardware ceiling: {ceiling['int8_tops']:.2f} int8 TOPS ({ceiling['int8_by']}), "]
        lines[-1] += f"{ceiling['read_gbs']:.1f} GB/s read from memory ({ceiling['read_by']})."
    for measured in filter(None, report.get("in_process", {}).values()):
        lines += ["", *_in_process(measured, ceiling)]
    for part, write in (
        ("http", _http),
        ("overload", _overload),
        ("accuracy", _accuracy),
        ("startup", _start_up),
    ):
        if part in report:
            lines += ["", *write(report[part], report)]
    skipped = report.get("skipped", {})
    lines += ["", *(f"Not measured: {part}: {reason}" for part, reason in skipped.items())] if skipped else []
    return "\n".join(lines) + "\n"


def _header(machine: Mapping[str, Any]) -> Iterator[str]:
    yield f"# Benchmark of {machine['date']}, commit {machine['commit']}"
    yield ""
    yield f"{machine['cpu']} ({', '.join(machine['instructions'])}), {machine['threads']} threads. {machine['system']}."
    versions = [f"{name} {version}" for name, version in machine["versions"].items()]
    yield f"{', '.join(versions)}, {machine['server'].replace('==', ' ')}."


def _in_process(measured: Mapping[str, Any], ceiling: Mapping[str, Any]) -> Iterator[str]:
    points = {name: timed for name, timed in measured["points"].items() if name != SENTENCE}
    yield f"## In process: {measured['model']}"
    yield ""
    yield "Median milliseconds a call (rows x tokens); in brackets, how many times as long as ours in int8."
    names = [name for name in SYSTEMS if any(name in timed for timed in points.values())]
    for level, title in (("ids", "from token ids"), ("text", "from text")):
        rows = [[name, *(_cell(name, timed) for timed in points.values())] for name in names]
        rows = [row for row in rows if SYSTEMS[row[0]].level == level]
        if level == "ids" and "int8_tops" in ceiling:
            rows += list(_floor(measured, points, ceiling))
        if rows:
            yield from ("", *table([title, *points], rows))
    if OURS_TEXT in measured["points"].get(SENTENCE, {}):
        yield ""
        yield f"One real sentence a call, ours from text: {number(measured['points'][SENTENCE][OURS_TEXT]['ms'])} ms."
    yield from _problems(measured)
    yield from _disturbed(measured["other_work"])
    shares = ", ".join(f"{name} {share:.0%}" for name, share in measured["agreement"].items())
    yield f"Rows with the same best token as ours in fp32: {shares}."


def _cell(name: str, timed: Mapping[str, Mapping[str, float]]) -> str:
    if name not in timed:
        return ""
    ratio = ratios(timed).get(name)
    return number(timed[name]["ms"]) + (f" ({ratio:.2f})" if ratio and ratio != 1 else "")


def _floor(measured: Mapping[str, Any], points: Mapping[str, Any], ceiling: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the hardware's floor, and the share of it that our engine reaches."""
    floors = {name: 1e3 * floor_seconds(measured["needs"][name], ceiling) for name in points}
    yield ["hardware floor", *(number(floors[name]) for name in points)]
    for system in (OURS, "ours fp32"):
        shares = [floors[name] / timed[system]["ms"] if system in timed else None for name, timed in points.items()]
        yield [f"share reached by {system}", *("" if share is None else f"{share:.0%}" for share in shares)]


def _http(measured: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[str]:
    servers = measured["servers"]
    columns = sorted({int(key) for values in servers.values() for key in values if key.isdigit()})
    yield f"## Over HTTP: {measured['model']}, one sentence a request, {measured['generator']}"
    yield ""
    yield "Requests a second, with p50 / p99 in milliseconds, by connections. Memory is of the serving process."
    yield ""
    rows = [
        [name, *(_loaded(values[str(column)]) for column in columns), number(values["resident_mb"])]
        for name, values in servers.items()
    ]
    yield from table(["server", *map(str, columns), "MB"], rows)
    yield ""
    ours = servers.get(OUR_SERVER)
    for name in (AZUREML, LITSERVE) if ours else ():
        if name in servers and servers[name]["32"]["requests_per_second"]:
            ratio = ours["32"]["requests_per_second"] / servers[name]["32"]["requests_per_second"]
            yield f"32 connections: ours answers {ratio:.1f} times the requests of {name}."
    in_process = report.get("in_process", {}).get(measured["model"], {}).get("points", {}).get(SENTENCE, {})
    if ours and NO_OP in servers and OURS_TEXT in in_process:
        sum_of_parts = in_process[OURS_TEXT]["ms"] + servers[NO_OP]["1"]["p50"]
        yield (
            f"1 connection: p50 is {ours['1']['p50'] - sum_of_parts:+.2f} ms from the in-process figure "
            f"plus the no-op server's ({in_process[OURS_TEXT]['ms']:.2f} + {servers[NO_OP]['1']['p50']:.2f} ms)."
        )
    yield from _problems(measured)
    yield from _disturbed(
        {f"{n} at {c}": values[str(c)]["other_work"] for n, values in servers.items() for c in columns}
    )


def _loaded(values: Mapping[str, float]) -> str:
    failed = f", {values['failed']:.0f} failed" if values["failed"] else ""
    return f"{number(values['requests_per_second'])} ({number(values['p50'])} / {number(values['p99'])}{failed})"


def _overload(measured: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[str]:
    ms, memory = measured["ms"], measured["memory_mb"]
    counts = ", ".join(f"{status}: {count:,}" for status, count in sorted(measured["statuses"].items()))
    yield f"## At twice the sustainable load: {measured['offered_per_second']:.0f} requests a second, open loop"
    yield ""
    yield f"{measured['seconds']:.0f} s; answers by status: {counts}."
    deadline = f"; the deadline is {measured['deadline_ms']:,} ms" if measured["deadline_ms"] else ""
    yield f"The 200s: p50 {number(ms['p50'])} ms, p99 {number(ms['p99'])} ms, most {number(ms['p100'])} ms{deadline}."
    yield (
        f"Memory of the serving process: {number(memory['before'])} MB before, {number(memory.get('first_third'))} and "
        f"{number(memory.get('last_third'))} in the first and last third, {number(memory['after'])} after."
    )


def _accuracy(measured: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[str]:
    yield f"## Accuracy: {measured['model']} on {measured['data']}, {measured['rows']:,} rows"
    yield ""
    yield from table(["system", "best word"], [[name, f"{s:.2%}"] for name, s in measured["accuracy@1"].items()])
    yield ""
    yield f"ours int8 against fp32: {measured['int8_vs_fp32']['accuracy@1_points']:+.2f} points."
    yield from _problems(measured)


def _start_up(measured: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[str]:
    yield "## Start-up and memory: compiled BERT-base, second start"
    yield ""
    rows = [[n, number(f["median_seconds"]), number(f["median_resident_mb"])] for n, f in measured.items()]
    yield from table(["server", "s to first answer", "MB after it"], rows)
    if OUR_SERVER in measured and NO_OP in measured:
        difference = measured[OUR_SERVER]["median_seconds"] - measured[NO_OP]["median_seconds"]
        yield from ("", f"ours takes {difference:+.2f} s more than the no-op server.")


def _disturbed(shares: Mapping[str, float]) -> Iterator[str]:
    """Name the points at which other processes used the CPU."""
    values = [f"{name} ({share:.0%})" for name, share in shares.items() if share > DISTURBING]
    if values:
        yield f"Unreliable, since other processes used the CPU meanwhile: {', '.join(values)}."


def _problems(measured: Mapping[str, Any]) -> Iterator[str]:
    for name, reason in measured["problems"].items():
        yield f"Left out: {name}: {reason}"


# The picture


def draw(report: Mapping[str, Any], path: Path) -> bool:
    """Draw the PNG: each system's time divided by ours, and requests a second; returns False without figures."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    measured = [values for values in report.get("in_process", {}).values() if values]
    panels = len(measured) + ("http" in report)
    if not panels:
        return False
    figure, axes = pyplot.subplots(panels, 1, figsize=(11, 4.2 * panels), squeeze=False, layout="constrained")
    for axis, values in zip(axes[:, 0], measured, strict=False):
        _bars(axis, values)
    if "http" in report:
        _lines(axes[-1, 0], report["http"])
    machine = report["machine"]
    figure.suptitle(f"{machine['cpu']}, {machine['threads']} threads, {machine['date']}")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return True


def _bars(axis: Any, measured: Mapping[str, Any]) -> None:  # noqa: ANN401 - matplotlib has no types
    points = {name: ratios(timed) for name, timed in measured["points"].items() if name != SENTENCE}
    names = [name for name in SYSTEMS if "full head" not in name and any(name in values for values in points.values())]
    width = 0.85 / max(1, len(names))
    for place, name in enumerate(names):
        heights = [values.get(name, float("nan")) for values in points.values()]
        at = [index + (place - len(names) / 2 + 0.5) * width for index in range(len(points))]
        axis.bar(at, heights, width, label=name)
    axis.axhline(1, color="black", linewidth=0.8)
    axis.set_yscale("log")
    axis.set_xticks(range(len(points)), list(points))
    axis.set_ylabel(f"time / {OURS}'s (log)")
    axis.set_title(f"In process: {measured['model']} (rows x tokens)")
    axis.legend(fontsize="x-small", ncols=3)


def _lines(axis: Any, measured: Mapping[str, Any]) -> None:  # noqa: ANN401
    for name, values in measured["servers"].items():
        columns = sorted(int(key) for key in values if key.isdigit())
        axis.plot(columns, [values[str(c)]["requests_per_second"] for c in columns], marker="o", label=name)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xlabel("connections")
    axis.set_ylabel("requests a second (log)")
    axis.set_title(f"Over HTTP: {measured['model']}, one sentence a request")
    axis.legend(fontsize="x-small")
