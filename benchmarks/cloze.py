"""Accuracy of a masked-language model on a cloze file, at the precisions it is served with.

    python -m benchmarks.cloze --model model/embedded --data cloze.jsonl --precision fp32 int8

reads one row a line, {"input_string": "Paris is the [MASK] of France.", "title": "capital"}, and asks the engine of
`serving/` for the five best words. A word counts as found after the model's own normalization, so that an uncased
model is not charged for case; the figure for the exact spelling stands beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from serving.answering.fill_mask import FillMask
from serving.errors import ModelFolderError, RequestError

MASK = "[MASK]"
TOP_K = 5
CHUNK = 256
"""Rows asked for at once: enough for the engine to batch rows of like length, and a progress line every few seconds."""

CLEAR_GAP = 0.02
"""Where the two best words are nearer than this, either is as good an answer, and rounding may swap them."""


class ClozeError(Exception):
    """The data cannot be evaluated; the message says what was expected, what was found and what to do."""


@dataclass(frozen=True)
class Row:
    """A text with one mask, and the word that was there; `number` is its line in the file, from 1."""

    number: int
    text: str
    title: str


@dataclass(frozen=True)
class Answer:
    """What the model says of a row: words and their probabilities, best first."""

    words: tuple[str, ...]
    scores: tuple[float, ...]

    def is_clear(self) -> bool:
        """Tell whether the best word is ahead of the second by CLEAR_GAP or more."""
        return len(self.scores) < 2 or self.scores[0] - self.scores[1] >= CLEAR_GAP


def read_rows(path: Path) -> list[Row]:
    """Read a cloze file, blank lines left out; raises ClozeError, naming the row, where it is not one."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # not splitlines: U+2028 may stand inside a string
    except OSError as exc:
        raise ClozeError(f"{path}: expected a file that can be read, found: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ClozeError(f"{path}: expected UTF-8 text, found {exc.reason} at byte {exc.start}; convert it") from exc
    rows = [_row(line, number, path) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise ClozeError(f"{path}: expected a row a line, found no row")
    return rows


def _row(line: str, number: int, path: Path) -> Row:
    where = f"{path}, row {number}"
    try:
        found = json.loads(line)
    except ValueError as exc:
        raise ClozeError(f"{where}: expected a JSON object, found: {exc}") from exc
    if not isinstance(found, dict):
        raise ClozeError(f'{where}: expected a JSON object, found {line.strip()[:40]!r}; write {{"input_string": …}}')
    if not {"input_string", "title"} <= set(found):
        raise ClozeError(f"{where}: expected columns ['input_string', 'title'], found {sorted(found)}; rename them")
    text, title = found["input_string"], found["title"]
    if not isinstance(text, str) or not isinstance(title, str) or not title.strip():
        raise ClozeError(f"{where}: expected input_string and title to be texts, found {text!r} and {title!r}")
    if text.count(MASK) != 1:
        raise ClozeError(f"{where}: expected one {MASK} in input_string, found {text.count(MASK)}; one word is scored")
    return Row(number, text, title.strip())


def ask(model: FillMask, rows: Sequence[Row], progress: Callable[[int], object] = lambda done: None) -> list[Answer]:
    """Return the model's answers; `progress` is told after each chunk how many rows are done."""
    answers: list[Answer] = []
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]

        def name(index: int, chunk: Sequence[Row] = chunk) -> str:
            return f"row {chunk[index].number}"

        for (candidates,) in model.fill([row.text for row in chunk], top_k=TOP_K, row_name=name):
            answers.append(Answer(tuple(c.token_str for c in candidates), tuple(c.score for c in candidates)))
        progress(len(answers))
    return answers


def accuracy(rows: Sequence[Row], answers: Sequence[Answer], normalize: Callable[[str], str]) -> dict[str, float]:
    """Return shares from 0 to 1: the masked word was the best, or among the five best; normalized and exact.

    >>> accuracy([Row(1, "[MASK] is big.", "Paris")], [Answer(("paris", "it"), (0.5, 0.1))], str.lower)
    {'accuracy@1': 1.0, 'accuracy@5': 1.0, 'exact_accuracy@1': 0.0, 'exact_accuracy@5': 0.0}
    """
    found: dict[str, float] = {}
    for name, seen in (("accuracy", normalize), ("exact_accuracy", str)):
        for k in (1, TOP_K):
            right = (seen(row.title) in map(seen, answer.words[:k]) for row, answer in zip(rows, answers, strict=True))
            found[f"{name}@{k}"] = sum(right) / len(rows)
    return found


def agreement(reference: Sequence[Answer], other: Sequence[Answer]) -> dict[str, float | int | None]:
    """Return how often two runs have the same best word: on all rows, and on those where the reference is clear.

    `clear_rows` is how many these are; without any, their agreement is None.
    """
    same = [a.words[0] == b.words[0] for a, b in zip(reference, other, strict=True)]
    clear = [alike for alike, answer in zip(same, reference, strict=True) if answer.is_clear()]
    return {
        "agreement": sum(same) / len(same),
        "clear_rows": len(clear),
        "agreement_on_clear_rows": sum(clear) / len(clear) if clear else None,
    }


def evaluate(model_dir: Path, data: Path, precisions: Sequence[str], terminal: TextIO | None = None) -> dict[str, Any]:
    """Evaluate a model folder at one precision or both; returns what `--json` prints.

    With both, `int8_vs_fp32` has the differences in points (1 point is 0.01 of accuracy) and the agreement.
    """
    rows = read_rows(data)
    report: dict[str, Any] = {"model": str(model_dir), "data": str(data), "rows": len(rows)}
    answers: dict[str, list[Answer]] = {}
    for precision in dict.fromkeys(precisions):
        model = FillMask.load(model_dir, precision=precision)
        answers[precision] = ask(model, rows, _progress(terminal, precision, len(rows)))
        report[precision] = accuracy(rows, answers[precision], model.normalize)
    if len(answers) == 2:
        points = {f"{k}_points": 100 * (report["int8"][k] - report["fp32"][k]) for k in report["fp32"]}
        report["int8_vs_fp32"] = {**points, **agreement(answers["fp32"], answers["int8"])}
    return report


def _progress(terminal: TextIO | None, precision: str, total: int) -> Callable[[int], object]:
    def tell(done: int) -> None:
        if terminal is not None:
            terminal.write(f"\r{precision}: {done:,} of {total:,} rows" + ("\n" if done == total else ""))
            terminal.flush()

    return tell


def table(report: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that a person reads."""
    yield f"{report['model']} on {report['data']}, {report['rows']:,} rows"
    yield f"{'':10}{'accuracy@1':>12}{'accuracy@5':>12}{'exact @1':>12}{'exact @5':>12}"
    for precision in ("fp32", "int8"):
        if precision in report:
            yield f"{precision:10}" + "".join(f"{share:>12.2%}" for share in report[precision].values())
    if "int8_vs_fp32" in report:
        against = report["int8_vs_fp32"]
        yield f"{'difference':10}" + "".join(f"{against[f'{k}_points']:>+12.2f}" for k in report["fp32"]) + "  points"
        yield f"same best word: {against['agreement']:.2%} of all rows"
        if against["clear_rows"]:
            yield (
                f"same best word where fp32's two best are {CLEAR_GAP} or more apart: "
                f"{against['agreement_on_clear_rows']:.2%} of {against['clear_rows']:,} rows"
            )
        else:
            yield f"fp32's two best are {CLEAR_GAP} or more apart in no row"


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; exit status 1 and one line where the model or the data cannot be used."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.cloze", description=__doc__, formatter_class=formatter)
    parser.add_argument("--model", type=Path, required=True, help="model folder, as score.py serves it")
    parser.add_argument("--data", type=Path, required=True, help="JSON lines with input_string and title")
    parser.add_argument("--precision", nargs="+", choices=["fp32", "int8"], default=["fp32"], help="one or both (fp32)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    args = parser.parse_args(argv)
    try:
        report = evaluate(args.model, args.data, args.precision, sys.stderr if sys.stderr.isatty() else None)
    except (ClozeError, ModelFolderError, RequestError) as exc:
        sys.stderr.write(f"cloze: {exc}\n")
        return 1
    sys.stdout.write(json.dumps(report) + "\n" if args.json else "\n".join(table(report)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
