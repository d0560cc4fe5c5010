r"""Predict test data with a model: the command of the component model_prediction.

    python -m evaluation.model_prediction --task fill-mask --test-data cloze.jsonl --model model/embedded \
        --predictions predictions.jsonl --prediction-probabilities probabilities.jsonl \
        --ground-truth truth.jsonl --performance-metadata performance.jsonl --rejects rejects.jsonl

Rows are streamed: a chunk is read, goes through the engine of serving/ in batches of like length, and is written, in the
order of the data. A row that cannot be used is written to the rejects with its line and the reason, and counted. No
output is in its place before all of them are whole.
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

from evaluation.config import ConfigError, read_config
from evaluation.predict.loading import DEVICES, Loaded, load, settings_for
from evaluation.predict.predictor import OptionError, Predicted, Predictor, columns_of
from serving.errors import ModelFolderError, RequestError, SettingsError
from serving.settings import PRECISIONS
from serving.tasks import Task
from tables.rows import Reject, Row, TableError, chunks
from tables.table import open_table
from tables.whole_file import Outputs

CHUNK_ROWS = 4096
CHUNK_CHARACTERS = 1 << 19
"""What is in memory at once: enough rows to find batches of like length, and about a minute of a large model's work."""

SHOWN = 5
"""Reasons that are told on the terminal; the file of rejects has all."""

OUTPUTS = ("predictions", "prediction_probabilities", "ground_truth", "performance_metadata", "rejects")


class NothingPredicted(Exception):
    """There was no row, or not one that could be used; the message has the first reasons."""


@dataclass
class Counts:
    """What was done so far, in how many seconds; `reasons` are the first few rejects."""

    read: int = 0
    predicted: int = 0
    seconds: float = 0.0
    reasons: list[str] = field(default_factory=list)

    @property
    def rejected(self) -> int:
        """Rows that could not be used."""
        return self.read - self.predicted


def predicted(predictor: Predictor, chunk: list[Row | Reject]) -> list[Predicted | Reject]:
    """Return what is said of a chunk's rows, in their order, with those that were broken before in their places."""
    found = iter(predictor.predict([row for row in chunk if isinstance(row, Row)]))
    return [row if isinstance(row, Reject) else next(found) for row in chunk]


def predict(loaded: Loaded, rows: Iterable[Row | Reject], outputs: Outputs, bar: tqdm[Any]) -> Counts:
    """Predict all rows and write the outputs but for the summary; tells the bar how far it is."""
    counts = Counts()
    for chunk in chunks(rows, CHUNK_ROWS, CHUNK_CHARACTERS):
        start, clock = datetime.now(UTC), time.perf_counter()
        results = predicted(loaded.predictor, chunk)
        for result in results:
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


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Do what the command line asks; returns the summary, the last line of performance_metadata.

    Raises NothingPredicted, with the rejects in their place, where no row could be used.
    """
    config = read_config(args.evaluation_config, args.evaluation_config_params)
    columns = columns_of(args.task, args.input_column_names, args.label_column_name)
    table = open_table(args.test_data)
    rows = table.rows(columns.all)
    first = next(rows, None)  # a column that is not there is told before a model is compiled
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
            raise NothingPredicted(f"expected rows that can be used, found {counts.rejected}, all rejected:\n{reasons}")
        summary = summarize(args.task, loaded, counts)
        outputs.write("performance_metadata", summary)
        outputs.publish()
    tell(counts, args.rejects)
    return summary


def summarize(task: Task, loaded: Loaded, counts: Counts) -> dict[str, Any]:
    """Return the last line of performance_metadata.

    Its seconds are those of predicting and writing; what the likelihoods of whole texts took stands beside them.
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


def tell(counts: Counts, rejects: Path) -> None:
    """Say how many rows were predicted, and why the first of the others were not."""
    sys.stderr.write(f"{counts.predicted:,} rows predicted, {counts.rejected:,} rejected\n")
    if counts.rejected:
        sys.stderr.write("\n".join([f"the first of those in {rejects}:", *counts.reasons]) + "\n")


def _interval() -> float:
    """Return the seconds between two states of the progress bar: a log is read differently from a terminal."""
    return 0.5 if sys.stderr.isatty() else 10.0


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser; options with the names of the component's inputs and outputs."""
    formatter = argparse.RawDescriptionHelpFormatter
    found = argparse.ArgumentParser(
        "python -m evaluation.model_prediction", description=__doc__, formatter_class=formatter
    )
    tasks = ["fill-mask", "text-classification", "question-answering"]
    found.add_argument("--task", required=True, choices=tasks)
    found.add_argument("--test-data", required=True, type=Path, help="a file, a folder of files, or an MLTable folder")
    found.add_argument("--model", required=True, type=Path, help="an MLflow or Hugging Face model folder")
    found.add_argument("--input-column-names", help="with commas; by the task: input_string; text; question,context")
    found.add_argument("--label-column-name", help="by the task: title; label; answers")
    found.add_argument("--evaluation-config", type=Path, help="a JSON file of settings of the evaluation")
    found.add_argument("--evaluation-config-params", help="the same as JSON text")
    found.add_argument("--device", default="auto", choices=list(DEVICES))
    found.add_argument("--precision", default="auto", choices=PRECISIONS)
    found.add_argument("--batch-size", type=_positive, help="the most rows that go through the model at once (64)")
    for name in OUTPUTS:
        found.add_argument(f"--{name.replace('_', '-')}", required=True, type=Path, help="where to write JSON lines")
    return found


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; exit status 1 and a message where something cannot be used, 130 where stopped."""
    args = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        run(args)
    except (
        NothingPredicted,
        TableError,
        OptionError,
        ConfigError,
        SettingsError,
        ModelFolderError,
        RequestError,
        OSError,
    ) as exc:
        sys.stderr.write(f"model_prediction: {exc}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("model_prediction: stopped; nothing was written\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
