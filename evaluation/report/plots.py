"""The plots of the report: reliability, a metric by slice, a confusion matrix, and a histogram.

A plot is about as wide as a phone, so that its text can be read there; a wide page has several side by side. Its label
has all its numbers, for people who have the page read to them.

matplotlib draws a plot as an SVG element. Its text stays text in the page's font, its colors are CSS variables that
serve dark and light, and its ids are unique on the page. The same figure gives the same element.
"""

from __future__ import annotations

import io
import math
import re
import unicodedata
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from evaluation.report.metrics_file import Confusion, Histogram, Metric, Reliability, Slice
from evaluation.report.number_format import SPACE, count, digits, interval, quantity, sign

PALETTE = {
    "ink": ("#1a1f26", "#e9ecef"),
    "muted": ("#59636e", "#9aa4ae"),
    "rule": ("#d9dde2", "#343b43"),
    "accent": ("#0072b2", "#56b4e9"),
    "paper": ("#ffffff", "#14181c"),
}
"""Colors on light and on dark paper. The accent is Okabe and Ito's blue, which suits all kinds of color vision."""

INK, MUTED, RULE, ACCENT, PAPER = (light for light, _ in PALETTE.values())

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,
    "font.size": 12,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


WIDTH = 328
"""The width of a plot in CSS pixels: the 360 of a phone less the page's margins."""

MOST_LABELS = 20
"""Labels of a confusion matrix, which more would make unreadable: the most confused labels are shown."""

_METADATA = ("Creator", "Date", "Format", "Type")

_ROW = 50
"""The height of a slice in CSS pixels."""

_BESIDE = 78
"""The room beside the scale of a slice for its number of rows, in CSS pixels."""

_FIFTHS = (0, 0.2, 0.4, 0.6, 0.8, 1)
_BARS: dict[str, Any] = {"color": ACCENT, "edgecolor": PAPER, "linewidth": 1.5}
_POINTS: dict[str, Any] = {"textcoords": "offset points"}
_percent = FuncFormatter(lambda value, _: f"{round(100 * value)}{SPACE}%")


class Plot(NamedTuple):
    """An `<svg>` element and its natural width in CSS pixels."""

    svg: str
    width: int


def one_line(text: str) -> str:
    """Return a text on one line, without characters that XML cannot hold."""
    return re.sub(r"[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\s+", " ", text)


def element(figure: Figure, name: str, label: str) -> Plot:
    """Return the figure as an element for HTML; `name` makes its ids unique on the page."""
    written = io.BytesIO()
    with warnings.catch_warnings():
        # matplotlib measures text in its own font, which lacks some letters; the page shows them in its font.
        warnings.filterwarnings("ignore", message=".*Glyph .* missing", category=UserWarning)
        figure.savefig(written, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    root = ElementTree.fromstring(written.getvalue())
    style = root.find(f"{SVG}defs/{SVG}style/..")
    if style is not None:
        root.remove(style)  # it would apply to the whole page
    for part in root.iter():
        _adapt(part, name)
    width = round(figure.bbox.width)
    root.attrib.update({"role": "img", "aria-label": one_line(label), "data-plot": name, "width": str(width)})
    del root.attrib["height"]
    ElementTree.register_namespace("", SVG.strip("{}"))
    return Plot(ElementTree.tostring(root, encoding="unicode"), width)


def _adapt(part: ElementTree.Element, name: str) -> None:
    """Adapt an element to the page: ids with a prefix, the page's font, colors by their names."""
    attributes = part.attrib
    if "id" in attributes:
        attributes["id"] = f"{name}-{attributes['id']}"
    if f"{XLINK}href" in attributes:
        attributes["href"] = attributes.pop(f"{XLINK}href").replace("#", f"#{name}-")
    if "clip-path" in attributes:
        attributes["clip-path"] = attributes["clip-path"].replace("#", f"#{name}-")
    if "style" in attributes:
        style = re.sub(r"font-family: [^;]*;?", "", attributes["style"])
        for color, (light, _) in PALETTE.items():
            style = style.replace(light, f"var(--{color})")
        attributes["style"] = style.strip("; ")


def reliability(diagram: Reliability) -> Plot | None:
    """Draw how often the model was right against how sure it was; None if no bin has rows."""
    bins = [b for b in diagram.bins if b.rows and b.confidence is not None and b.accuracy is not None]
    if not bins:
        return None
    with matplotlib.rc_context(STYLE):
        figure = _figure(WIDTH, 420)
        upper = _axes(figure, left=44, right=10, top=28, bottom=132)
        upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, dashes=(4, 4))
        for b in bins:
            upper.plot([b.confidence] * 2, [b.confidence, b.accuracy], color=ACCENT, linewidth=3, alpha=0.35)
        upper.plot([b.confidence for b in bins], [b.accuracy for b in bins], color=ACCENT, linewidth=1.5)
        sizes = [20 + 100 * b.rows / max(b.rows for b in bins) for b in bins]
        points = [b.confidence for b in bins], [b.accuracy for b in bins]
        upper.scatter(*points, s=sizes, color=ACCENT, edgecolors=PAPER, linewidths=1.5, zorder=3)
        upper.set(xlim=(0, 1), ylim=(0, 1), yticks=_FIFTHS, xticks=_FIFTHS)
        upper.tick_params(labelbottom=False)
        upper.grid(color=RULE, linewidth=0.6)
        _above(upper, "the share that was right")
        lower = _axes(figure, left=44, right=10, top=316, bottom=44)
        lower.bar([b.low for b in bins], [b.rows for b in bins], [b.high - b.low for b in bins], align="edge", **_BARS)
        lower.set(xlim=(0, 1), xticks=_FIFTHS, yticks=[])
        _above(lower, f"rows (the fullest bin: {max(b.rows for b in bins):,})")
        lower.set_xlabel("the model's own probability", color=MUTED, fontsize=11)
        lower.xaxis.set_major_formatter(_percent)
        upper.yaxis.set_major_formatter(_percent)
        label = "; ".join(
            f"{quantity(b.confidence, 'share')} sure on average, {quantity(b.accuracy, 'share')} right, "
            f"{count(b.rows, 'row')}"
            for b in bins
        )
        return element(figure, "reliability", f"Reliability diagram. {label}.")


def slices(parts: Sequence[Slice], overall: Metric, name: str) -> Plot | None:
    """Draw a metric with its interval for each slice, and a line for all rows; None if no slice has a value.

    `name` must be unique on the page.
    """
    shown = [part for part in parts if part.rows and part.value is not None and math.isfinite(part.value)]
    if not shown:
        return None
    with matplotlib.rc_context(STYLE):
        figure = _figure(WIDTH, _ROW * len(shown) + 56)
        axes = _axes(figure, left=10, right=_BESIDE, top=30, bottom=26)
        low, high = _range(shown, overall)
        axes.set(xlim=(low, high), ylim=(_ROW * len(shown), 0), yticks=[])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value, overall.unit)))
        for place, part in enumerate(shown):
            _slice(axes, part, overall, _ROW * place)
        if overall.value is not None and low <= overall.value <= high:
            _overall(axes, overall.value, f"all rows {quantity(overall.value, overall.unit)}")
        label = "; ".join(_label(part, overall.unit) for part in shown)
        return element(figure, name, f"{overall.name} by {shown[0].by}. {label}.")


def confusion(matrix: Confusion) -> Plot | None:
    """Draw the matrix with cells shaded by their share of a true label's rows; None if the counts are all 0.

    A share counts all rows of a true label, including rows with a predicted label that is not shown.
    """
    labels, counts, totals = most_confused(matrix)
    if not any(totals):
        return None
    room = 7 * max(min(len(_short(label, 16)), 16) for label in labels) + 16
    side = max(46, (WIDTH - room - 2) // len(labels))
    with matplotlib.rc_context(STYLE):
        upright = side < room - 12
        top = 26 + (room if upright else 24)
        figure = _figure(room + side * len(labels) + 2, top + side * len(labels) + 2)
        axes = _axes(figure, left=room, right=2, top=top, bottom=2)
        axes.set(xlim=(0, len(labels)), ylim=(len(labels), 0))
        axes.spines["bottom"].set_visible(False)
        places = [place + 0.5 for place in range(len(labels))]
        names = [_short(label, 16) for label in labels]
        axes.xaxis.tick_top()
        turned: dict[str, Any] = {"rotation": 90, "rotation_mode": "anchor", "ha": "left", "va": "center"}
        axes.set_xticks(places, names, color=INK, **(turned if upright else {}))
        axes.set_yticks(places, names, color=INK)
        for across, down, side_name in ((room, 12, "predicted →"), (0, top - 8, "true ↓")):
            place = across / figure.bbox.width, 1 - down / figure.bbox.height
            figure.text(*place, side_name, color=MUTED, fontsize=11)
        for at, (row, total) in enumerate(zip(counts, totals, strict=True)):
            for across, number in enumerate(row):
                _cell(axes, (across, at), number, number / max(1, total), side)
        text = "; ".join(
            f"of {count(total, 'row')} that are {label}: {_predictions(labels, row, total)}"
            for label, row, total in zip(labels, counts, totals, strict=True)
            if total
        )
        return element(figure, "confusion", f"Confusion matrix. What was predicted {text}.")


def _predictions(labels: Sequence[str], row: Sequence[int], total: int) -> str:
    """Write the predictions for a true label: "438 as Business, 18 as World, 2 as labels that are not shown"."""
    counts = [*zip(labels, row, strict=True), ("labels that are not shown", total - sum(row))]
    return ", ".join(f"{number:,} as {label}" for label, number in counts if number)


def histogram(scores: Histogram) -> Plot | None:
    """Draw how many rows have which score; None if there are no rows."""
    if not any(scores.counts):
        return None
    with matplotlib.rc_context(STYLE):
        figure = _figure(WIDTH, 260)
        axes = _axes(figure, left=2, right=12, top=28, bottom=44)
        widths = [high - low for low, high in zip(scores.edges, scores.edges[1:], strict=False)]
        bars = axes.bar(scores.edges[:-1], scores.counts, widths, align="edge", **_BARS)
        axes.set(xlim=(scores.edges[0], scores.edges[-1]), yticks=[], ylim=(0, 1.1 * max(scores.counts)))
        if len(scores.counts) <= 12:
            numbers = [f"{number:,}" if number else "" for number in scores.counts]
            axes.bar_label(bars, numbers, padding=3, fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(_short(scores.name, 48), color=MUTED, fontsize=11)
        _above(axes, f"rows (the fullest bin: {max(scores.counts):,})")
        edges = zip(scores.edges, scores.edges[1:], scores.counts, strict=False)
        label = "; ".join(f"{low:g} to {high:g}: {count(number, 'row')}" for low, high, number in edges if number)
        return element(figure, "histogram", f"Histogram of {scores.name}. {label}.")


def most_confused(matrix: Confusion) -> tuple[list[str], list[list[int]], list[int]]:
    """Return the labels, their counts, and the number of rows of each true label.

    If there are more than MOST_LABELS, the labels with the most mistakes are kept, in their order.
    """
    size = len(matrix.labels)

    def mistakes(at: int) -> int:
        others = [other for other in range(size) if other != at]
        return sum(matrix.counts[at][other] + matrix.counts[other][at] for other in others)

    kept = sorted(sorted(range(size), key=mistakes, reverse=True)[:MOST_LABELS])
    counts = [[matrix.counts[at][other] for other in kept] for at in kept]
    return [matrix.labels[at] for at in kept], counts, [sum(matrix.counts[at]) for at in kept]


def _figure(width: float, height: float) -> Figure:
    """Return a figure of this size in CSS pixels; a point and a dot are one pixel too."""
    return Figure(figsize=(width / 72, height / 72), dpi=72)


def _axes(figure: Figure, left: float, right: float, top: float, bottom: float) -> Axes:
    """Add axes with these margins in CSS pixels."""
    width, height = figure.bbox.width, figure.bbox.height
    return figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height))


def _above(axes: Axes, title: str) -> None:
    """Write the title of the y axis above the axes, since a title turned on its side is hard to read."""
    axes.annotate(title, (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points", color=MUTED, fontsize=11)


def _range(shown: Sequence[Slice], overall: Metric) -> tuple[float, float]:
    """Return the ends of the scale: 0, and a little beyond the largest value."""
    ends = [end for part in shown for end in (part.value, part.low, part.high)] + [overall.value]
    known = [end for end in ends if end is not None and math.isfinite(end)]
    low, high = min(0.0, 1.05 * min(known)), max(0.0, 1.05 * max(known))
    if overall.unit == "share":
        high = min(high, 1.0)
    return low, high if high > low else low + 1


def _slice(axes: Axes, part: Slice, overall: Metric, top: float) -> None:
    """Draw a slice: its name and value on a line, and below it its interval on a scale with its rows."""
    across, unit, middle = axes.get_yaxis_transform(), overall.unit, top + 33
    begin, end = -10 / axes.bbox.width, 1 + _BESIDE / axes.bbox.width  # the figure's edges in the axes' coordinates
    axes.plot([0, 1], [middle] * 2, color=RULE, linewidth=1, transform=across, zorder=1)
    axes.text(begin, top + 17, _short(part.name, 36), transform=across)
    axes.text(end, top + 17, quantity(part.value, unit), transform=across, ha="right", weight="bold")
    axes.text(end, middle + 4, count(part.rows, "row"), transform=across, ha="right", color=MUTED, fontsize=11)
    if part.low is not None and part.high is not None:
        reach: dict[str, Any] = {"color": ACCENT, "alpha": 0.35, "linewidth": 7, "clip_on": False}
        axes.plot([part.low, part.high], [middle] * 2, **reach)
    if overall.value is not None:
        axes.plot([overall.value] * 2, [middle - 9, middle + 9], color=MUTED, linewidth=1.5, zorder=1)
    marker: dict[str, Any] = {"marker": "o", "markersize": 9, "markeredgecolor": PAPER, "markeredgewidth": 1.5}
    axes.plot([part.value], [middle], color=ACCENT, clip_on=False, zorder=3, **marker)


def _overall(axes: Axes, value: float, label: str) -> None:
    """Write the name of the line for all rows above the slices."""
    low, high = axes.get_xlim()
    place = (value - low) / (high - low)
    side = "left" if place < 0.3 else "right" if place > 0.7 else "center"
    offset: dict[str, Any] = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points"}
    axes.annotate(label, (value, 1), (0, 9), ha=side, color=MUTED, fontsize=11, **offset)


def _cell(axes: Axes, corner: tuple[int, int], number: int, share: float, side: int) -> None:
    """Draw a cell, at most half covered by the accent, so that its number can be read in dark and light.

    The cover grows with the root of the share, so that a few mistakes can be seen too.
    """
    axes.add_patch(
        Rectangle(corner, 1, 1, facecolor=to_rgba(ACCENT, 0.5 * math.sqrt(share)), edgecolor=PAPER, linewidth=2)
    )
    if not number:
        return
    middle = corner[0] + 0.5, corner[1] + 0.5
    weight = "bold" if corner[0] == corner[1] else "normal"
    roomy = side >= 56
    axes.annotate(f"{number:,}", middle, (0, 2 if roomy else -4), ha="center", color=INK, weight=weight, **_POINTS)
    if roomy:
        below: dict[str, Any] = {"ha": "center", "color": INK, "fontsize": 10, **_POINTS}
        axes.annotate(quantity(share, "share"), middle, (0, -13), **below)


def _tick(value: float, unit: str) -> str:
    if unit == "share":
        return f"{round(100 * value, 1):g}{SPACE}%"
    return f"{value:g}".replace("-", "\u2212")


def _label(part: Slice, unit: str) -> str:
    between = interval(part.low, part.high, unit)
    shown = f"{digits(part.value, unit)}{SPACE}{sign(unit)}".strip()
    return f"{part.name}: {shown}" + (f" (from {between})" if between else "") + f", {count(part.rows, 'row')}"


def _short(text: str, most: int) -> str:
    """Return a text on one line, at most about `most` letters wide: its beginning and its end, which differ most.

    A Chinese letter is as wide as two others. "intent_transfer_into_account" in 16 -> "intent_t…account".
    """
    line = one_line(text)
    width = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line)
    if width <= most:
        return line
    kept = most * len(line) // width - 1
    return f"{line[: kept - kept // 2]}…{line[len(line) - kept // 2 :]}"
