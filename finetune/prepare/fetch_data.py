"""Fetch a public data set from the Hugging Face hub, and write its rows in the form that the fine-tuning jobs read.

    asset fetch-data sst2 --output data/sst2

sst2      reviews of films: train.jsonl, validation.jsonl of {"text", "label": NEGATIVE or POSITIVE}
ag_news   news: train.jsonl, validation.jsonl (a tenth of train, by a fixed seed), test.jsonl of {"text", "tag"}
squad     train.jsonl, validation.jsonl of {"id", "title", "context", "question", "answers"}

HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE count. The licenses are those of the data sets' pages.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from finetune.errors import FinetuneError
from finetune.prepare import hub
from finetune.settings import TrainingSettings
from finetune.tasks.text_classification import split_by_label
from tables.disk import Outputs
from tables.rows import Reject, TableError
from tables.table import open_table

LABEL = "label"


@dataclass(frozen=True)
class DataSet:
    """A data set: its repository, the folder of its parquet files, and the form of its rows.

    `columns` are its names -> ours. `labels` are the names of the integers in `label`; a data set of questions has none.
    """

    repository: str
    folder: str
    parts: tuple[str, ...]
    columns: Mapping[str, str]
    labels: tuple[str, ...] = ()
    split: bool = False
    """Set a tenth of train aside as validation."""

    def record(self, values: Mapping[str, Any], place: str) -> dict[str, Any]:
        """Return a row as it is written; raises FinetuneError for a label that has no name."""
        record = {ours: values[theirs] for theirs, ours in self.columns.items()}
        if self.labels:
            ours, number = self.columns[LABEL], values[LABEL]
            if type(number) is not int or not 0 <= number < len(self.labels):
                raise FinetuneError(f"{place}: expected a label from 0 to {len(self.labels) - 1}, found {number!r}")
            record[ours] = self.labels[number]
        return record


DATA_SETS = {
    "sst2": DataSet(
        "stanfordnlp/sst2",
        "data",
        ("train", "validation"),  # the labels of its test part are not public
        {"sentence": "text", "label": "label"},
        ("NEGATIVE", "POSITIVE"),
    ),
    "ag_news": DataSet(
        "fancyzhx/ag_news",
        "data",
        ("train", "test"),
        {"text": "text", "label": "tag"},
        ("World", "Sports", "Business", "Sci/Tech"),
        split=True,
    ),
    "squad": DataSet(
        "rajpurkar/squad",
        "plain_text",
        ("train", "validation"),
        {name: name for name in ("id", "title", "context", "question", "answers")},
    ),
}


def fetch_data(name: str, output: Path, revision: str | None = None) -> dict[str, int]:
    """Fetch a data set and write its files, all of them or none; returns their rows. Raises FinetuneError."""
    data = DATA_SETS[name]
    patterns = [f"{data.folder}/{part}-*.parquet" for part in data.parts]
    fetched = hub.fetch(data.repository, patterns, "dataset", revision)
    names = [*data.parts, *(["validation", "unsplit"] if data.split else [])]
    counts = dict.fromkeys(["train", "validation", "test"], 0)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with Outputs({part: output / f"{part}.jsonl" for part in names}) as outputs:
            labels: list[str] = []
            for part in data.parts:
                unsplit = data.split and part == "train"
                for record in _records(data, fetched, part):
                    outputs.write("unsplit" if unsplit else part, record)
                    counts[part] += 1
                    if unsplit:
                        labels.append(record[data.columns[LABEL]])
            if data.split:
                aside = split_by_label(labels, TrainingSettings().seed)
                for index, line in enumerate(outputs.lines("unsplit")):
                    outputs.write_line("validation" if index in aside else "train", line)
                counts |= {"train": len(labels) - len(aside), "validation": len(aside)}
            outputs.publish(*(part for part in names if part != "unsplit"))
    except OSError as exc:
        place = exc.filename or output
        raise FinetuneError(f"{place}: expected a folder that can be written to, found: {exc.strerror}") from exc
    sys.stderr.write(f"{data.repository} at {fetched.commit}\n")
    return {part: count for part, count in counts.items() if count}


def _records(data: DataSet, fetched: hub.Fetched, part: str) -> Iterator[dict[str, Any]]:
    files = sorted((fetched.folder / data.folder).glob(f"{part}-*.parquet"))
    if not files:
        there = ", ".join(fetched.names[:10]) or "nothing"
        raise FinetuneError(
            f"{data.repository}: expected {data.folder}/{part}-*.parquet, found {there}; give --revision of another state"
        )
    for file in files:
        try:
            table = open_table(file)
            rows = table.rows(list(data.columns))
            for row in tqdm(rows, f"writing {part}", table.about(), leave=False, disable=None, unit=" rows"):
                place = f"{data.repository}: {file.name}, row {row.line}"
                if isinstance(row, Reject):
                    raise FinetuneError(f"{place}: {row.message}")
                yield data.record(row.values, place)
        except TableError as exc:
            raise FinetuneError(f"{data.repository}: {exc}") from exc


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    formatter = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser("asset fetch-data", description=__doc__, formatter_class=formatter)
    made.add_argument("name", choices=DATA_SETS, help="the data set")
    made.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="the folder that the files are written to"
    )
    made.add_argument("--revision", help="a commit, branch or tag of the repository (main)")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; returns status 1, with one line on stderr, if the data set cannot be fetched."""
    args = parser().parse_args(argv)
    try:
        counts = fetch_data(args.name, args.output, args.revision)
    except FinetuneError as exc:
        sys.stderr.write(f"fetch_data: {' '.join(str(exc).splitlines())}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("fetch_data: stopped; nothing was written\n")
        return 130
    sys.stdout.write("".join(f"{args.output / part}.jsonl: {count:,} rows\n" for part, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
