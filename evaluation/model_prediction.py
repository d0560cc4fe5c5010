r"""Predict test data with a model: the command of the component model_prediction.

    python -m evaluation.model_prediction --task fill-mask --test-data cloze.jsonl --model model/embedded \
        --predictions predictions.jsonl --prediction-probabilities probabilities.jsonl \
        --ground-truth truth.jsonl --performance-metadata performance.jsonl --rejects rejects.jsonl

Rows are streamed: a chunk is read, goes through the engine of serving/ in batches of like length, and is written in the
order of the data. A row that cannot be used is counted and written to the rejects with its line and the reason. The
output files get their names only when all of them are complete.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evaluation.command import Arguments, add_config, add_task, make_parser, positive, run_command
from evaluation.config import read_config
from evaluation.errors import EvaluationError
from evaluation.predict.predictor import DEVICES, Loaded, Predicted, Predictor, columns_of, load, settings_for
from serving.settings import PRECISIONS
from serving.tasks import Task
from tables.disk import Outputs
from tables.rows import Reject, Row, TableError, chunks
from tables.table import open_table

CHUNK_ROWS = 4096
CHUNK_CHARACTERS = 1 << 19
"""Rows in memory at once: enough to find batches of like length, and about a minute of a large model's work."""

SHOWN = 5
"""Rejects shown on the terminal; the file of rejects has all."""

OUTPUTS = ("predictions", "prediction_probabilities", "ground_truth", "performance_metadata", "rejects")


@dataclass
class Counts:
    """The rows so far and the seconds they took; `reasons` are the first few rejects."""

    read: int = 0
    predicted: int = 0
    seconds: float = 0.0
    reasons: list[str] = field(default_factory=list)

    @property
    def rejected(self) -> int:
        """Rows that could not be used."""
        return self.read - self.predicted


def predicted(predictor: Predictor, chunk: list[Row | Reject]) -> list[Predicted | Reject]:
    """Return the predictions of a chunk's rows, in order; rows that could not be read stay in their places."""
    predictions = iter(predictor.predict([row for row in chunk if isinstance(row, Row)]))
    return [row if isinstance(row, Reject) else next(predictions) for row in chunk]


def predict(loaded: Loaded, rows: Iterable[Row | Reject], outputs: Outputs, bar: tqdm[Any]) -> Counts:
    """Predict all rows, write the outputs except for the summary, and move the progress bar."""
    counts = Counts()
    for chunk in chunks(rows, CHUNK_ROWS, CHUNK_CHARACTERS):
        start, clock = datetime.now(UTC), time.perf_counter()
        for result in predicted(loaded.predictor, chunk):
            _write(outputs, result, counts)
        seconds = time.perf_counter() - clock
        record = {
            "start_time": start.isoformat(),
            "end_time": datetime.now(UTC).isoformat(),
            "rows": len(chunk),
            "seconds": round(seconds, 6),
            "batch_size": loaded.settings.batch_rows,
        }
        outputs.write("performance_metadata", record)
        counts.seconds += seconds
        bar.update(len(chunk))
    return counts


def _write(outputs: Outputs, result: Predicted | Reject, counts: Counts) -> None:
    counts.read += 1
    if isinstance(result, Reject):
        outputs.write("rejects", result.record())
        if len(counts.reasons) < SHOWN:
            counts.reasons.append(f"{result.file}, line {result.line}: {result.code}: {result.message}")
        return
    counts.predicted += 1
    outputs.write("ground_truth", result.ground_truth)
    outputs.write("predictions", result.prediction)
    outputs.write("prediction_probabilities", result.probabilities)


def run(args: Arguments) -> dict[str, Any]:
    """Predict and write the outputs; returns the summary, which is the last line of performance_metadata.

    Raises EvaluationError, with the rejects written, if no row can be used.
    """
    config = read_config(args.evaluation_config, args.evaluation_config_params)
    columns = columns_of(args.task, args.input_column_names, args.label_column_name)
    table = open_table(args.test_data)
    rows = table.rows(columns.all)
    first = next(rows, None)  # a missing column is reported before the model is compiled
    if first is None:
        raise TableError(f"{args.test_data}: expected rows of test data, found none")
    loaded = load(args.model, args.task, columns, settings_for(args.device, args.precision, args.batch_size), config)
    logging.info("%(model)s in %(precision)s on the %(device)s, by %(engine)s", loaded.described)
    with Outputs({name: getattr(args, name) for name in OUTPUTS}) as outputs:
        with tqdm(total=table.about(), unit="row", unit_scale=True, mininterval=_interval()) as bar:
            counts = predict(loaded, itertools.chain([first], rows), outputs, bar)
        if not counts.predicted:
            outputs.publish("rejects")
            reasons = "\n".join(counts.reasons)
            raise EvaluationError(f"expected rows that can be used, found {counts.rejected}, all rejected:\n{reasons}")
        summary = summarize(args.task, loaded, counts)
        outputs.write("performance_metadata", summary)
        outputs.publish()
    report(counts, args.rejects)
    return summary


def summarize(task: Task, loaded: Loaded, counts: Counts) -> dict[str, Any]:
    """Return the last line of performance_metadata.

    `seconds` is the time of predicting and writing; the time for the likelihoods of whole texts is given separately.
    """
    likelihoods = loaded.predictor.likelihood_seconds
    seconds = counts.seconds - likelihoods
    return {
        "summary": True,
        "task": task,
        **loaded.described,
        "rows_read": counts.read,
        "rows_predicted": counts.predicted,
        "rows_rejected": counts.rejected,
        "seconds": round(seconds, 3),
        "rows_per_second": round(counts.read / seconds, 1),
        loaded.predictor.long_name: loaded.predictor.long_rows,
        **({"likelihood_seconds": round(likelihoods, 3)} if likelihoods else {}),
    }


def report(counts: Counts, rejects: Path) -> None:
    """Print how many rows were predicted, and the first rejects."""
    sys.stderr.write(f"{counts.predicted:,} rows predicted, {counts.rejected:,} rejected\n")
    if counts.rejected:
        sys.stderr.write("\n".join([f"the first rows in {rejects}:", *counts.reasons]) + "\n")


def _interval() -> float:
    """Return the seconds between two updates of the progress bar: fewer updates suit a log."""
    return 0.5 if sys.stderr.isatty() else 10.0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = make_parser("evaluation.model_prediction", __doc__)
    add_task(options)
    options.add_argument(
        "--test-data", required=True, type=Path, help="a file, a folder of files, or an MLTable folder"
    )
    options.add_argument("--model", required=True, type=Path, help="an MLflow or Hugging Face model folder")
    options.add_argument(
        "--input-column-names",
        help="the columns of the input, with commas; by default input_string, text, or question,context, by the task",
    )
    options.add_argument("--label-column-name", help="the column of the truth; by default title, label or answers")
    add_config(options)
    options.add_argument("--device", default="auto", choices=list(DEVICES))
    options.add_argument("--precision", default="auto", choices=PRECISIONS)
    options.add_argument("--batch-size", type=positive, help="the most rows that go through the model at once (64)")
    for name in OUTPUTS:
        options.add_argument(f"--{name.replace('_', '-')}", required=True, type=Path, help="where to write JSON lines")
    return options


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    args = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command("model_prediction", run, args)


if __name__ == "__main__":
    sys.exit(main())
