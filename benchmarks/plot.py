"""The one picture: how many times as long as ours each system takes at each point, and requests a second over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.in_process import SENTENCE, ratios
from benchmarks.peers import OURS, SYSTEMS


def draw(report: Mapping[str, Any], path: Path) -> bool:
    """Write the PNG; returns False where there is nothing to draw."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    measured = [found for found in report.get("in_process", {}).values() if found]
    panels = len(measured) + ("http" in report)
    if not panels:
        return False
    figure, axes = pyplot.subplots(panels, 1, figsize=(11, 4.2 * panels), squeeze=False, layout="constrained")
    for axis, found in zip(axes[:, 0], measured, strict=False):
        _bars(axis, found)
    if "http" in report:
        _lines(axes[-1, 0], report["http"])
    machine = report["machine"]
    figure.suptitle(f"{machine['cpu']}, {machine['threads']} threads, {machine['date']}")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return True


def _bars(axis: Any, measured: Mapping[str, Any]) -> None:  # noqa: ANN401 - matplotlib's is untyped
    points = {name: ratios(timed) for name, timed in measured["points"].items() if name != SENTENCE}
    names = [name for name in SYSTEMS if "full head" not in name and any(name in found for found in points.values())]
    width = 0.85 / max(1, len(names))
    for place, name in enumerate(names):
        heights = [found.get(name, float("nan")) for found in points.values()]
        at = [index + (place - len(names) / 2 + 0.5) * width for index in range(len(points))]
        axis.bar(at, heights, width, label=name)
    axis.axhline(1, color="black", linewidth=0.8)
    axis.set_yscale("log")
    axis.set_xticks(range(len(points)), list(points))
    axis.set_ylabel(f"time / {OURS}'s (log)")
    axis.set_title(f"In process: {measured['model']} (rows x tokens)")
    axis.legend(fontsize="x-small", ncols=3)


def _lines(axis: Any, measured: Mapping[str, Any]) -> None:  # noqa: ANN401
    for name, found in measured["servers"].items():
        columns = sorted(int(key) for key in found if key.isdigit())
        axis.plot(columns, [found[str(c)]["requests_per_second"] for c in columns], marker="o", label=name)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xlabel("connections")
    axis.set_ylabel("requests a second (log)")
    axis.set_title(f"Over HTTP: {measured['model']}, one sentence a request")
    axis.legend(fontsize="x-small")
