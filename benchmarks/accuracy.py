"""The part accuracy: the share of rows of a cloze file whose masked word is the best word, ours and the peers'.

    .venv/serving/bin/python -m benchmarks.accuracy --model model/embedded --data cloze.jsonl --precision fp32 int8

scores our engine at one or both precisions with the predictor of evaluation.model_prediction, and prints how far int8 is
from fp32. Each line of the file is a row such as {"input_string": "Paris is the [MASK] of France.", "title": "capital"}.
A word counts as found after the model's own normalization, so that an uncased model is not charged for case; the exact
figures compare the spelling.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.inputs import encode
from benchmarks.peers.systems import SYSTEMS
from benchmarks.workers import ROOT, WorkerError, environment_of, hired, interpreter
from evaluation.config import EvaluationConfig
from evaluation.errors import EvaluationError
from evaluation.predict.predictor import Predicted, columns_of, load, settings_for
from serving.errors import ModelFolderError
from tables.rows import Reject, Row, TableError
from tables.table import open_table

DATA = ROOT.parent / "shared/data/wikitext2_cloze_validation.jsonl"
"""The validation data beside a development checkout; it is not part of the project."""

ROWS_A_BATCH = 32
PEERS = ("ONNX Runtime int8", "OpenVINO bf16", "OpenVINO int8")
TOP_K = 5
PRECISIONS = ("fp32", "int8")

CLEAR_GAP = 0.02
"""If the probabilities of the two best words are nearer than this, rounding may swap the words."""


# Ours


def evaluate(model: Path, data: Path, precisions: Sequence[str]) -> dict[str, Any]:
    """Score a model folder at one or both precisions; returns the report that `--json` prints.

    With both precisions, `int8_vs_fp32` has the differences in points (0.01 of accuracy) and the agreement. Raises
    EvaluationError, TableError or ModelFolderError.
    """
    columns = columns_of("fill-mask", None, None)
    rows = list(open_table(data).rows(columns.all))
    _check(rows)
    report: dict[str, Any] = {"model": str(model), "data": str(data), "rows": len(rows)}
    predictions: dict[str, list[Predicted]] = {}
    for precision in dict.fromkeys(precisions):
        settings = settings_for("cpu", precision, None)
        predictor = load(model, "fill-mask", columns, settings, EvaluationConfig(top_k=TOP_K)).predictor
        results = predictor.predict([row for row in rows if isinstance(row, Row)])
        _check(results)
        predictions[precision] = [result for result in results if isinstance(result, Predicted)]
        report[precision] = accuracy(predictions[precision])
    if len(predictions) == 2:
        points = {f"{name}_points": 100 * (report["int8"][name] - report["fp32"][name]) for name in report["fp32"]}
        report["int8_vs_fp32"] = {**points, **agreement(predictions["fp32"], predictions["int8"])}
    return report


def _check(results: Sequence[Row | Predicted | Reject]) -> None:
    """Raise EvaluationError for the first row that cannot be used: a share of some rows would hide the others."""
    if not results:
        raise EvaluationError("expected a row a line, found no row")
    for reject in results:
        if isinstance(reject, Reject):
            raise EvaluationError(f"{reject.file}, line {reject.line}: {reject.message}")


def accuracy(predictions: Sequence[Predicted]) -> dict[str, float]:
    """Return the shares of rows whose word is the best word, or among the five best; normalized and exact."""
    shares: dict[str, float] = {}
    for name, flags_of in (("accuracy", _normalized), ("exact_accuracy", _exact)):
        for k in (1, TOP_K):
            shares[f"{name}@{k}"] = sum(any(flags_of(row)[:k]) for row in predictions) / len(predictions)
    return shares


def _normalized(row: Predicted) -> list[bool]:
    return list(row.prediction["right"])


def _exact(row: Predicted) -> list[bool]:
    (title,) = row.ground_truth.values()
    return [word == title for word, _ in row.prediction["top"]]


def agreement(reference: Sequence[Predicted], other: Sequence[Predicted]) -> dict[str, float | int | None]:
    """Return how often two runs have the same best word: in all rows, and in rows in which the reference is clear.

    A row is clear if its best word is ahead of the second by CLEAR_GAP. `clear_rows` counts the clear rows; without clear
    rows, their agreement is None.
    """
    same = [a.prediction["predictions"] == b.prediction["predictions"] for a, b in zip(reference, other, strict=True)]
    clear = [alike for alike, row in zip(same, reference, strict=True) if is_clear(row.prediction["top"])]
    return {
        "agreement": sum(same) / len(same),
        "clear_rows": len(clear),
        "agreement_on_clear_rows": sum(clear) / len(clear) if clear else None,
    }


def is_clear(top: Sequence[Sequence[Any]]) -> bool:
    """Return True if the best word is ahead of the second by CLEAR_GAP or more.

    >>> is_clear([["capital", 0.5], ["heart", 0.49]])
    False
    """
    return len(top) < 2 or top[0][1] - top[1][1] >= CLEAR_GAP


def table(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines to print."""
    yield f"{report['model']} on {report['data']}, {report['rows']:,} rows"
    yield f"{'':10}{'accuracy@1':>12}{'accuracy@5':>12}{'exact @1':>12}{'exact @5':>12}"
    for precision in PRECISIONS:
        if precision in report:
            yield f"{precision:10}" + "".join(f"{share:>12.2%}" for share in report[precision].values())
    if "int8_vs_fp32" in report:
        against = report["int8_vs_fp32"]
        points = "".join(f"{against[f'{name}_points']:>+12.2f}" for name in report["fp32"])
        yield f"{'difference':10}{points}  points"
        yield f"same best word: {against['agreement']:.2%} of all rows"
        if against["clear_rows"]:
            share, rows = against["agreement_on_clear_rows"], against["clear_rows"]
            yield f"same best word if fp32's two best are {CLEAR_GAP} or more apart: {share:.2%} of {rows:,} rows"
        else:
            yield f"fp32's two best are {CLEAR_GAP} or more apart in no row"


# Beside the peers


def measure(
    model: Path, data: Path, cache: Path, threads: int, peers: Sequence[str], say: Callable[[str], None]
) -> dict[str, Any]:
    """Return the share of rows whose masked word is the best word, by system, and the `problems` by system."""
    report: dict[str, Any] = {"model": model.name, "data": data.name, "problems": {}}
    say(f"accuracy: ours on {data.name}")
    ours = _ours(model, data, threads)
    report |= {"rows": ours["rows"], "int8_vs_fp32": ours["int8_vs_fp32"]}
    report["accuracy@1"] = {f"ours {precision}": ours[precision]["accuracy@1"] for precision in PRECISIONS}
    for name in peers:
        say(f"accuracy: {name}")
        try:
            report["accuracy@1"][name] = _peer(name, model, data, cache, threads)
        except WorkerError as exc:
            report["problems"][name] = str(exc)
    return report


def _ours(model: Path, data: Path, threads: int) -> dict[str, Any]:
    command = [str(interpreter("serving")), "-m", "benchmarks.accuracy", "--model", str(model), "--data", str(data)]
    done = subprocess.run(
        [*command, "--precision", *PRECISIONS, "--json"],
        cwd=ROOT,
        env=environment_of(threads),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise WorkerError(f"benchmarks.accuracy ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _peer(name: str, model: Path, data: Path, cache: Path, threads: int) -> float:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    lines = [json.loads(line) for line in data.read_text(encoding="utf-8").split("\n") if line.strip()]
    batch = encode(tokenizer, [line["input_string"] for line in lines])
    # Rows of like length go together. Their shapes vary, so OpenVINO compiles for all shapes at once.
    order = sorted(range(len(lines)), key=lambda index: len(batch.ids[index]))
    options = {"fixed_shapes": False} if name.startswith("OpenVINO") else {}
    right = 0
    with hired(name, SYSTEMS[name].environment, threads, cache / "logs") as member:
        member.ask("prepare", system=name, model=str(model), cache=str(cache), threads=threads, **options)
        for start in range(0, len(order), ROWS_A_BATCH):
            part = order[start : start + ROWS_A_BATCH]
            rows = batch.chosen(part).to_json()
            for index, token in zip(part, member.ask("answer", batch=rows)["tokens"], strict=True):
                normalized = [
                    tokenizer.normalizer.normalize_str(word) if tokenizer.normalizer else word
                    for word in (tokenizer.id_to_token(token), lines[index]["title"].strip())
                ]
                right += normalized[0] == normalized[1]
    return right / len(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; exit status 1 after a message if the model or the data cannot be used."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.accuracy", description=__doc__, formatter_class=formatter)
    parser.add_argument("--model", type=Path, required=True, help="a fill-mask model folder")
    parser.add_argument("--data", type=Path, required=True, help="JSON lines with input_string and title")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["fp32"], help="one or both (fp32)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    args = parser.parse_args(argv)
    try:
        report = evaluate(args.model, args.data, args.precision)
    except (EvaluationError, ModelFolderError, TableError) as exc:
        sys.stderr.write(f"accuracy: {exc}\n")
        return 1
    sys.stdout.write(json.dumps(report) + "\n" if args.json else "\n".join(table(report)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
