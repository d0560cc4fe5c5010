"""report.html: what an evaluation found, on one page that needs nothing but a browser.

    python -m evaluation.report.page metrics.json report.html

makes the page again from the figures; all that it shows is in metrics.json. The page is one file without scripts that
loads nothing, in light or dark as its reader prefers, for a phone as for a wide screen, and on paper.

How an example is shown: its texts, what was expected, and which of the candidates is that.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from evaluation.report import plots
from evaluation.report.metrics_file import (
    Example,
    Metric,
    MetricsFile,
    MetricsFileError,
    Reliability,
    Slice,
    parse,
    read,
)
from evaluation.report.number_format import SPACE, count, digits, duration, interval, quantity, sign
from tables.whole_file import write_whole

RUN = {
    "model_type": "Architecture",
    "engine": "Engine",
    "device": "Device",
    "precision": "Precision",
    "rows_read": "Rows read",
    "rows_predicted": "Rows predicted",
    "rows_rejected": "Rows rejected",
    "windowed_rows": "Rows read in windows, being longer than the model",
    "truncated_rows": "Rows cut, being longer than the model",
    "seconds": "Time",
    "rows_per_second": "Speed",
}
"""What is told of a run, in this order; what else its summary holds comes after it."""

TOLD_ELSEWHERE = {"summary", "task", "model"}


class Figure(NamedTuple):
    """A plot and what to see in it."""

    plot: plots.Plot
    title: str
    text: str


def render(metrics: Mapping[str, Any]) -> str:
    """Return the page for what metrics.json holds; raises MetricsFileError where it is not that.

    The same metrics give the same page: {"task": "fill-mask", "metrics": [{"name": "accuracy@1", "value": 0.241, …}]}
    gives a page with "24.1 %" for accuracy@1.
    """
    found = parse(metrics)
    headlines = [metric for metric in found.metrics if metric.headline and metric.value is not None]
    slices = list(_slices(found))
    same = {name for _, name, _ in slices}
    return _template().render(
        found=found,
        palette=plots.PALETTE,
        heading=str(found.model.get("model") or "A model"),
        level=_level(found.settings),
        facts=list(_facts(found)),
        headlines=headlines,
        figures=list(_figures(found)),
        slices=slices,
        same_metric=same.pop() if len(same) == 1 else "",
        examples=[
            (kind, title, rows)
            for kind, title, rows in (
                ("best", "Where it did best", found.examples.best),
                ("worst", "Where it did worst", found.examples.worst),
            )
            if rows
        ],
        columns={
            name: any(getattr(metric, name) not in (None, "") for metric in found.metrics)
            for name in ("low", "rows", "definition", "source")
        },
        left_out=[(part.name, part.reason) for part in found.left_out],
        run=list(_run(found)),
        settings=[(_name(key), _written(key, value)) for key, value in found.settings.items() if value is not None],
    )


@cache
def _template() -> jinja2.Template:
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=folder, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    shown = (quantity, interval, digits, sign, count, excerpt, pieces, inputs, answer, is_right, breakable, band)
    environment.globals.update({function.__name__: function for function in shown}, Markup=Markup)
    return environment.get_template("report.html.jinja")


def _level(settings: Mapping[str, Any]) -> str:
    """Return "95 % interval", or "interval" where the settings do not say."""
    level = settings.get("confidence")
    return f"{100 * level:g}{SPACE}% interval" if isinstance(level, int | float) else "interval"


def _facts(found: MetricsFile) -> Iterator[str]:
    """Yield what stands below the heading: on what, how and how fast."""
    rows = found.data.rows if found.data.rows is not None else found.model.get("rows_predicted")
    if isinstance(rows, int):
        yield count(rows, "row")
    if found.data.rejected:
        yield f"{found.data.rejected:,}{SPACE}rejected"
    for key in ("precision", "device"):
        if found.model.get(key):
            yield str(found.model[key])
    speed = found.model.get("rows_per_second")
    if isinstance(speed, int | float):
        yield _written("rows_per_second", speed)


def _figures(found: MetricsFile) -> Iterator[Figure]:
    drawn = found.plots
    if drawn.reliability and (plot := plots.reliability(drawn.reliability)):
        yield Figure(plot, "How sure it is, and how right", trust(drawn.reliability))
    if drawn.confusion and (plot := plots.confusion(drawn.confusion)):
        shown = min(len(drawn.confusion.labels), plots.MOST_LABELS)
        text = "A line of the matrix holds all rows of one true label; the stronger a cell, the more of them it has."
        if shown < len(drawn.confusion.labels):
            text += f" The {shown} of {len(drawn.confusion.labels)} labels with most mistakes are shown; shares are of all rows."
        yield Figure(plot, "What it takes for what", text)
    if drawn.histogram and (plot := plots.histogram(drawn.histogram)):
        text = "How many have which score: a mean says little where most of them are at the ends."
        yield Figure(plot, _name(drawn.histogram.name), text)


def trust(found: Reliability) -> str:
    """Say what a reliability diagram shows: whether a probability can be taken at its word."""
    bins = [b for b in found.bins if b.rows and b.confidence is not None and b.accuracy is not None]
    rows = sum(b.rows for b in bins)
    sure = sum(b.rows * (b.confidence or 0) for b in bins) / rows
    right = sum(b.rows * (b.accuracy or 0) for b in bins) / rows
    gap = 100 * (sure - right)
    verdict = f"too sure of itself by {gap:.1f} points" if gap > 0 else f"surer than it says by {-gap:.1f} points"
    if abs(gap) < 1:
        verdict = "as right as it says, on average"
    return (
        f"On average the model gives its answer a probability of {quantity(sure, 'share')} and is right in "
        f"{quantity(right, 'share')} of the rows: it is {verdict}. On the dashed line, of the answers it is "
        f"70{SPACE}% sure of 70{SPACE}% are right; below the line it is too sure, above it too modest."
    )


def _slices(found: MetricsFile) -> Iterator[tuple[str, str, plots.Plot]]:
    """Yield a plot for each way in which the rows are divided: by what, a metric's name and the plot."""
    metrics = {metric.name: metric for metric in found.metrics}
    kinds: dict[tuple[str, str], list[Slice]] = {}
    for part in found.slices:
        kinds.setdefault((part.by, part.metric), []).append(part)
    for place, ((by, name), parts) in enumerate(kinds.items()):
        if plot := plots.slices(parts, metrics.get(name, Metric(name=name)), f"slices-{place}"):
            yield by, name, plot


def _run(found: MetricsFile) -> Iterator[tuple[str, str]]:
    """Yield what was evaluated: names and values."""
    counted = {"rows_predicted": found.data.rows, "rows_rejected": found.data.rejected}
    told = {**counted, **(found.data.model_extra or {}), **found.model}
    yield "Task", found.task
    if found.model.get("model"):
        yield "Model", str(found.model["model"])
    others = [key for key in told if key not in RUN and key not in TOLD_ELSEWHERE]
    for key in (*RUN, *others):
        if told.get(key) is not None:
            yield RUN.get(key, _name(key)), _written(key, told[key])


def _name(key: str) -> str:
    words = key.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _written(key: str, value: object) -> str:
    """Write a setting or a fact of a run, whatever it is."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if key == "seconds":
            return duration(value)
        if key == "rows_per_second":
            return f"{digits(value, 'rate')}{SPACE}rows/s"
        if key == "confidence":
            return f"{100 * value:g}{SPACE}%"
        return str(value) if key == "seed" else f"{value:,}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def band(metric: Metric) -> tuple[float, float, float] | None:
    """Return where a share's interval begins, how long it is and where its value is, in percent; None without one."""
    if metric.unit != "share" or metric.value is None or metric.low is None or metric.high is None:
        return None
    low, high = max(0.0, metric.low), min(1.0, metric.high)
    return 100 * low, 100 * max(0.0, high - low), 100 * min(1.0, max(0.0, metric.value))


def breakable(name: str) -> Markup:
    """Return a name that may go on in the next line after an underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; exit status 1 and one line where the file is no metrics.json."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m evaluation.report.page", description=__doc__, formatter_class=formatter)
    parser.add_argument("metrics", type=Path, help="the metrics.json of an evaluation")
    parser.add_argument("report", type=Path, help="the page to write")
    args = parser.parse_args(argv)
    try:
        page = render(read(args.metrics))
    except MetricsFileError as exc:
        sys.stderr.write(f"report: {args.metrics}: {exc}\n")
        return 1
    try:
        write_whole(args.report, page)
    except OSError as exc:
        sys.stderr.write(f"report: {args.report}: expected a file that can be written, found: {exc.strerror}\n")
        return 1
    return 0


LONG = 420
"""An input of more letters than this is shown around what is asked, and whole when its reader wants it."""


def answer(found: object, task: str) -> str:
    """Write an expected or predicted answer: a text, a text a mask, or any of several texts.

    "capital" -> "capital"; ["New", "York"] -> "New · York"; a question's {"text": ["Rome", "Rome"]} -> "Rome"
    """
    if isinstance(found, dict) and isinstance(found.get("text"), list):
        found = found["text"]
    if isinstance(found, list):
        texts = [str(text) for text in found]
        found = " · ".join(dict.fromkeys(texts) if task == "question-answering" else texts)
    return str(found) if str(found).strip() else "(nothing)"


def expected_words(example: Example, mask: int) -> list[str]:
    """Return the words that are right for a mask: with several masks each has its own, else any of them will do."""
    found = example.expected
    if isinstance(found, dict):
        found = found.get("text")
    if not isinstance(found, list):
        return [str(found)]
    several = len(example.top) > 1
    return [str(found[mask])] if several and mask < len(found) else [str(word) for word in found]


def is_right(example: Example, mask: int, candidate: int, best: bool) -> bool:
    """Tell whether a candidate, counted from 0, is right: as the evaluation says, else where it is an expected word.

    Of one of the best examples what was predicted is right too: an evaluation may take "the Nile" for "Nile".
    """
    if example.right:
        return example.right[mask][candidate]
    words = expected_words(example, mask) + ([str(example.predicted)] if best else [])
    return example.top[mask][candidate][0] in words


def pieces(text: str) -> list[str]:
    """Divide a text at its masks, which stay: "a [MASK] b" gives ["a ", "[MASK]", " b"]."""
    return re.split(r"(\[MASK\])", text)


def inputs(example: Example, task: str) -> list[tuple[str, str]]:
    r"""Return the texts of an example and what each is; a question stands before its context, on a line of its own.

    "Which team?\nDenver won." of a question-answering row -> [("question", "Which team?"), ("context", "Denver won.")]
    """
    if isinstance(example.input, dict):
        return [(str(name), str(text)) for name, text in example.input.items()]
    question, line, context = str(example.input).partition("\n")
    if task == "question-answering" and line:
        return [("question", question), ("context", context)]
    return [("", str(example.input))]


def excerpt(text: str, example: Example) -> str:
    """Return a long text's part around its mask or the expected answer, and a short text as it is."""
    if len(text) <= LONG:
        return text
    masks = [found.start() for found in re.finditer(r"\[MASK\]", text)]
    answers = [text.find(word) for word in expected_words(example, 0) if word and word in text]
    place = masks[min(len(masks), example.mask or 1) - 1] if masks else min(answers, default=0)
    start = max(0, min(place - LONG // 2, len(text) - LONG))
    cut = text[start : start + LONG]
    if start:
        cut = "… " + cut.split(" ", 1)[-1]
    return cut if start + LONG >= len(text) else cut.rsplit(" ", 1)[0] + " …"


if __name__ == "__main__":
    sys.exit(main())
