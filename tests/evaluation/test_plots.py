"""Plots: the same each time, colored by the page, with ids of their own, and for any label that a model may have."""

from __future__ import annotations

import math
import re
import warnings
from xml.etree import ElementTree

import matplotlib
import pytest

from evaluation.report import plots
from evaluation.report.metrics_file import Bin, Confusion, Histogram, Metric, Reliability, Slice
from evaluation.report.plots import PALETTE, Plot
from tests.evaluation.metrics_samples import HOSTILE

SHARE = Metric(name="accuracy", value=0.5, unit="share")


def drawn(plot: Plot | None) -> ElementTree.Element:
    assert plot is not None
    return ElementTree.fromstring(plot.svg)


def texts(plot: Plot | None) -> list[str]:
    return [text.text or "" for text in drawn(plot).iter("{http://www.w3.org/2000/svg}text")]


def part(name: str = "short", **figures: float | None) -> Slice:
    return Slice.model_validate({"by": "length", "name": name, "metric": "accuracy", "rows": 7, **figures})


def every_plot() -> list[Plot | None]:
    return [
        plots.reliability(Reliability(bins=[Bin(low=0, high=0.5, rows=3, confidence=0.3, accuracy=0.4)])),
        plots.slices([part(value=0.4, low=0.3, high=0.5)], SHARE, "first"),
        plots.slices([part(value=0.4)], SHARE, "second"),
        plots.confusion(Confusion(labels=["a", "b"], counts=[[3, 1], [0, 2]])),
        plots.histogram(Histogram(name="F1", edges=[0, 0.5, 1], counts=[2, 5])),
    ]


def test_the_same_figures_give_the_same_svg() -> None:
    assert every_plot() == every_plot()


def test_ids_are_the_plots_own_and_references_follow_them() -> None:
    page = "".join(plot.svg for plot in every_plot() if plot)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 20
    references = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)
    assert references
    assert {one or other for one, other in references} <= set(ids)


def test_plots_leave_font_and_colors_to_the_page() -> None:
    page = "".join(plot.svg for plot in every_plot() if plot)
    assert "font-family" not in page and "<style" not in page and "metadata" not in page
    assert re.findall(r"#[0-9a-f]{6}\b", page) == []
    assert set(re.findall(r"var\(--(\w+)\)", page)) == set(PALETTE)


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    every_plot()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(("name", "pair"), [(n, p) for n, p in PALETTE.items() if n in ("ink", "muted", "accent")])
def test_text_stands_out_from_the_paper(name: str, pair: tuple[str, str]) -> None:
    """The contrast that WCAG 2.2 asks of text, 4.5."""
    for color, paper in zip(pair, PALETTE["paper"], strict=True):
        light, dark = sorted((luminance(color), luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def luminance(color: str) -> float:
    shares = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    "label", [HOSTILE.replace("\ud800", ""), "$x$ & <b>", "很长的标签" * 9, "", " ", "\x00\n\ufffe"]
)
def test_any_label_is_drawn_as_text_without_a_warning(label: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [
            plots.confusion(Confusion(labels=[label, "other"], counts=[[3, 1], [0, 2]])),
            plots.slices([part(label, value=0.4)], SHARE, "slices"),
            plots.histogram(Histogram(name=label, edges=[0, 1], counts=[2])),
        ]
    assert all(len(text) <= 50 for plot in found for text in texts(plot))
    if label == "$x$ & <b>":
        assert all(label in texts(plot) for plot in found)


def test_slices_show_name_rows_value_and_all_rows() -> None:
    shown = [
        text.replace("\u202f", " ") for text in texts(plots.slices([part(value=0.4, low=0.3, high=0.5)], SHARE, "a"))
    ]
    assert {"short", "7 rows", "40.0 %", "all rows 50.0 %"} <= set(shown)


@pytest.mark.parametrize("value", [-13.2, 0.0, 3.0, 1e9])
def test_slices_of_any_size_stay_on_the_scale(value: float) -> None:
    overall = Metric(name="accuracy", value=value, unit="nats")
    svg = drawn(plots.slices([part(value=value, low=value - 1, high=value + 1)], overall, "a"))
    places = [float(use.get("x", 0)) for use in svg.iter("{http://www.w3.org/2000/svg}use")]
    assert all(0 <= place <= plots.WIDTH for place in places)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_slice_without_a_value_is_left_out(value: float | None) -> None:
    assert plots.slices([part(value=value)], SHARE, "a") is None
    assert plots.slices([part(value=0.5), part("odd", value=value)], SHARE, "a") == plots.slices(
        [part(value=0.5)], SHARE, "a"
    )


def test_nothing_is_drawn_of_nothing() -> None:
    assert plots.reliability(Reliability()) is None
    assert plots.reliability(Reliability(bins=[Bin(low=0, high=1, rows=0)])) is None
    assert plots.slices([], SHARE, "a") is None
    assert plots.confusion(Confusion()) is None
    assert plots.confusion(Confusion(labels=["a"], counts=[[0]])) is None
    assert plots.histogram(Histogram()) is None
    assert plots.histogram(Histogram(edges=[0, 1], counts=[0])) is None


def test_of_many_labels_those_that_are_confused_most_are_shown() -> None:
    size = plots.MOST_LABELS + 10
    counts = [[9 if at == across else 0 for across in range(size)] for at in range(size)]
    counts[28][5] = counts[29][28] = 4
    labels, kept, totals = plots.most_confused(Confusion(labels=[f"label {at}" for at in range(size)], counts=counts))
    assert len(labels) == plots.MOST_LABELS
    assert labels == [f"label {at}" for at in (*range(plots.MOST_LABELS - 2), 28, 29)]
    assert kept[labels.index("label 28")][labels.index("label 5")] == 4
    assert totals == [*[9] * (plots.MOST_LABELS - 2), 13, 13]
    few = Confusion(labels=["a", "b"], counts=[[1, 2], [3, 4]])
    assert plots.most_confused(few) == (few.labels, few.counts, [3, 7])


def test_shares_are_of_all_rows_of_a_label_those_not_shown_too() -> None:
    size = plots.MOST_LABELS + 1
    counts = [[0] * size for _ in range(size)]
    for at in range(plots.MOST_LABELS):
        counts[at][at], counts[at][(at + 1) % plots.MOST_LABELS] = 1, 9
    counts[0][size - 1] = 8  # the last label has the fewest mistakes, and is not shown
    plot = plots.confusion(Confusion(labels=[f"label {at}" for at in range(size)], counts=counts))
    label = drawn(plot).attrib["aria-label"].replace("\u202f", " ")
    assert "label 20" not in label
    told = "of 18 rows that are label 0: 1 as label 0, 9 as label 1, 8 as labels that are not shown; "
    assert told in label
    # Its shade is the root of half its row; where the row is all shown, that of nine tenths.
    shades = sorted({float(shade) for shade in re.findall(r"opacity: ([\d.]+)", plot.svg if plot else "")})
    assert shades[-2:] == pytest.approx([0.5 * math.sqrt(0.5), 0.5 * math.sqrt(0.9)], abs=1e-5)
