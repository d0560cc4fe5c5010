"""report.html: the results of an evaluation on one page that needs only a browser.

    python -m evaluation.report.page metrics.json report.html

makes the page again from metrics.json, which has everything that the page shows. The page is one file without scripts
that loads nothing. It is light or dark as the reader prefers, and suits a phone, a wide screen and paper.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from evaluation.command import Arguments, make_parser, run_command
from evaluation.errors import EvaluationError, MetricsFileError
from evaluation.metrics.figures import TaskMetrics, metrics_of
from evaluation.report import plots
from evaluation.report.metrics_file import Example, Metric, MetricsFile, Reliability, Slice, parse, read
from evaluation.report.number_format import SPACE, count, digits, duration, interval, quantity, sign
from serving.tasks import TASKS
from tables.disk import write_whole

RUN = {
    "model_type": "Architecture",
    "engine": "Engine",
    "device": "Device",
    "precision": "Precision",
    "rows_read": "Rows read",
    "rows_predicted": "Rows predicted",
    "rows_rejected": "Rows rejected",
    "windowed_rows": "Rows longer than the model, read in windows",
    "truncated_rows": "Rows longer than the model, cut at the end",
    "seconds": "Time",
    "rows_per_second": "Speed",
}
"""The names of a run's facts, in the order of the page; other facts of the summary follow."""

SHOWN_ABOVE = {"summary", "task", "model"}
"""Facts of the summary that stand elsewhere on the page."""

LONG = 420
"""Letters of an input; a longer one is shortened to the part around its mask or answer, and opens on a click."""


class Figure(NamedTuple):
    """A plot with a title and an explanation."""

    plot: plots.Plot
    title: str
    text: str


def render(metrics: Mapping[str, Any]) -> str:
    """Return the page for the content of a metrics.json; raises MetricsFileError if the content is wrong.

    The same metrics give the same page: {"task": "fill-mask", "metrics": [{"name": "accuracy@1", "value": 0.241, …}]}
    gives a page with "24.1 %" for accuracy@1.
    """
    results = parse(metrics)
    headlines = [metric for metric in results.metrics if metric.headline and metric.value is not None]
    slices = list(_slices(results))
    sliced = {name for _, name, _ in slices}
    kinds = (("best", "Best examples", results.examples.best), ("worst", "Worst examples", results.examples.worst))
    return _template().render(
        results=results,
        palette=plots.PALETTE,
        heading=str(results.model.get("model") or "A model"),
        level=_level(results.settings),
        facts=list(_facts(results)),
        headlines=headlines,
        figures=list(_figures(results)),
        slices=slices,
        same_metric=sliced.pop() if len(sliced) == 1 else "",
        examples=[kind for kind in kinds if kind[-1]],
        columns={
            name: any(getattr(metric, name) not in (None, "") for metric in results.metrics)
            for name in ("low", "rows", "definition", "source")
        },
        left_out=[(part.name, part.reason) for part in results.left_out],
        run=list(_run(results)),
        settings=[(_name(key), _written(key, value)) for key, value in results.settings.items() if value is not None],
    )


@cache
def _template() -> jinja2.Template:
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=folder, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    functions = (quantity, interval, digits, sign, count, excerpt, pieces, inputs, answer, is_right, breakable, band)
    environment.globals.update({function.__name__: function for function in functions}, Markup=Markup)
    return environment.get_template("report.html.jinja")


# The facts and the figures


def _level(settings: Mapping[str, Any]) -> str:
    """Return "95 % interval", or "interval" if the settings do not have the level."""
    level = settings.get("confidence")
    return f"{100 * level:g}{SPACE}% interval" if isinstance(level, int | float) else "interval"


def _facts(results: MetricsFile) -> Iterator[str]:
    """Yield the facts below the heading: the rows, the precision, the device and the speed."""
    rows = results.data.rows if results.data.rows is not None else results.model.get("rows_predicted")
    if isinstance(rows, int):
        yield count(rows, "row")
    if results.data.rejected:
        yield f"{results.data.rejected:,}{SPACE}rejected"
    for key in ("precision", "device"):
        if results.model.get(key):
            yield str(results.model[key])
    speed = results.model.get("rows_per_second")
    if isinstance(speed, int | float):
        yield _written("rows_per_second", speed)


def _figures(results: MetricsFile) -> Iterator[Figure]:
    drawn = results.plots
    if drawn.reliability and (plot := plots.reliability(drawn.reliability)):
        yield Figure(plot, "Confidence and accuracy", trust(drawn.reliability))
    if drawn.confusion and (plot := plots.confusion(drawn.confusion)):
        labels, most = len(drawn.confusion.labels), plots.MOST_LABELS
        text = "A row of the matrix has all rows of one true label; a stronger cell has more of them."
        if labels > most:
            text += f" The {most} of {labels} labels with the most mistakes are shown; shares are of all rows."
        yield Figure(plot, "True and predicted labels", text)
    if drawn.histogram and (plot := plots.histogram(drawn.histogram)):
        text = "How many rows have which score: a mean says little if most scores are at the ends."
        yield Figure(plot, _name(drawn.histogram.name), text)


def trust(reliability: Reliability) -> str:
    """Say what a reliability diagram shows: how far the model's probabilities are from how often it is right."""
    bins = [b for b in reliability.bins if b.rows and b.confidence is not None and b.accuracy is not None]
    rows = sum(b.rows for b in bins)
    sure = sum(b.rows * (b.confidence or 0) for b in bins) / rows
    right = sum(b.rows * (b.accuracy or 0) for b in bins) / rows
    gap = 100 * (sure - right)
    verdict = f"too sure of itself by {gap:.1f} points" if gap > 0 else f"too modest by {-gap:.1f} points"
    if abs(gap) < 1:
        verdict = "right as often as it says"
    return (
        f"On average the model gives its answer a probability of {quantity(sure, 'share')} and is right in "
        f"{quantity(right, 'share')} of the rows: it is {verdict}. On the dashed line, 70{SPACE}% of the answers with a "
        f"probability of 70{SPACE}% are right. Below the line the model is too sure, above the line too modest."
    )


def _slices(results: MetricsFile) -> Iterator[tuple[str, str, plots.Plot]]:
    """Yield the property that divides the rows, the metric's name and the plot, for each kind of slices."""
    metrics = {metric.name: metric for metric in results.metrics}
    kinds: dict[tuple[str, str], list[Slice]] = {}
    for part in results.slices:
        kinds.setdefault((part.by, part.metric), []).append(part)
    for place, ((by, name), parts) in enumerate(kinds.items()):
        if plot := plots.slices(parts, metrics.get(name, Metric(name=name)), f"slices-{place}"):
            yield by, name, plot


def _run(results: MetricsFile) -> Iterator[tuple[str, str]]:
    """Yield the names and the values of the facts of the run."""
    counted = {"rows_predicted": results.data.rows, "rows_rejected": results.data.rejected}
    facts = {**counted, **(results.data.model_extra or {}), **results.model}
    yield "Task", results.task
    if results.model.get("model"):
        yield "Model", str(results.model["model"])
    others = [key for key in facts if key not in RUN and key not in SHOWN_ABOVE]
    for key in (*RUN, *others):
        if facts.get(key) is not None:
            yield RUN.get(key, _name(key)), _written(key, facts[key])


def _name(key: str) -> str:
    words = key.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _written(key: str, value: object) -> str:
    """Write a setting or a fact of a run."""
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
    """Return a share's interval as start, length and value in percent; None if the metric has none."""
    if metric.unit != "share" or metric.value is None or metric.low is None or metric.high is None:
        return None
    low, high = max(0.0, metric.low), min(1.0, metric.high)
    return 100 * low, 100 * max(0.0, high - low), 100 * min(1.0, max(0.0, metric.value))


def breakable(name: str) -> Markup:
    """Return a name that can be broken into lines after each underscore."""
    return Markup("_<wbr>").join(name.split("_"))


# The examples


def answer(value: object, task: str) -> str:
    """Write an expected or predicted answer: a text, a text for each mask, or several right texts.

    "capital" -> "capital"; ["New", "York"] -> "New · York"; a question's {"text": ["Rome", "Rome"]} -> "Rome"
    """
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        value = value["text"]
    if isinstance(value, list):
        texts = [str(text) for text in value]
        metrics = _metrics_of(task)
        value = " · ".join(dict.fromkeys(texts) if metrics and metrics.alternatives else texts)
    return str(value) if str(value).strip() else "(nothing)"


def _metrics_of(name: str) -> TaskMetrics | None:
    """Return how a task is evaluated; None for an unknown task, which another version can have written."""
    return next((metrics_of(task) for task in TASKS if task == name), None)


def expected_words(example: Example, mask: int) -> list[str]:
    """Return the right words for a mask: the mask's own word if there are several masks, else all expected words."""
    expected = example.expected
    if isinstance(expected, dict):
        expected = expected.get("text")
    if not isinstance(expected, list):
        return [str(expected)]
    several = len(example.top) > 1
    return [str(expected[mask])] if several and mask < len(expected) else [str(word) for word in expected]


def is_right(example: Example, mask: int, candidate: int, best: bool) -> bool:
    """Return True if a candidate, counted from 0, has the evaluation's flag, or without flags if it is expected.

    The prediction of one of the best examples is right too: an evaluation can accept "the Nile" for "Nile".
    """
    if example.right:
        return example.right[mask][candidate]
    words = expected_words(example, mask) + ([str(example.predicted)] if best else [])
    return example.top[mask][candidate][0] in words


def pieces(text: str) -> list[str]:
    """Divide a text at its masks, and keep the masks: "a [MASK] b" gives ["a ", "[MASK]", " b"]."""
    return re.split(r"(\[MASK\])", text)


def inputs(example: Example, task: str) -> list[tuple[str, str]]:
    r"""Return the names and the texts of an example's input; the texts stand on lines of their own.

    "Which team?\nDenver won." of a question-answering row -> [("question", "Which team?"), ("context", "Denver won.")]
    """
    if isinstance(example.input, dict):
        return [(str(name), str(text)) for name, text in example.input.items()]
    metrics = _metrics_of(task)
    names = metrics.input_parts if metrics else ()
    texts = str(example.input).split("\n", len(names) - 1) if names else []
    return list(zip(names, texts, strict=True)) if names and len(texts) == len(names) else [("", str(example.input))]


def excerpt(text: str, example: Example) -> str:
    """Return the part of a long text around its mask or its expected answer; a short text is not changed."""
    if len(text) <= LONG:
        return text
    masks = [match.start() for match in re.finditer(r"\[MASK\]", text)]
    answers = [text.find(word) for word in expected_words(example, 0) if word and word in text]
    place = masks[min(len(masks), example.mask or 1) - 1] if masks else min(answers, default=0)
    start = max(0, min(place - LONG // 2, len(text) - LONG))
    cut = text[start : start + LONG]
    if start:
        cut = "… " + cut.split(" ", 1)[-1]
    return cut if start + LONG >= len(text) else cut.rsplit(" ", 1)[0] + " …"


# The command


def run(args: Arguments) -> None:
    """Make the page again from a metrics.json."""
    try:
        page = render(read(args.metrics))
    except MetricsFileError as exc:
        raise EvaluationError(f"{args.metrics}: {exc}") from exc
    try:
        write_whole(args.report, page)
    except OSError as exc:
        message = f"{args.report}: expected a file that can be written, found: {exc.strerror}"
        raise EvaluationError(message) from exc


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    parser = make_parser("evaluation.report.page", __doc__)
    parser.add_argument("metrics", type=Path, help="the metrics.json of an evaluation")
    parser.add_argument("report", type=Path, help="the page to write")
    return run_command("report", run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
