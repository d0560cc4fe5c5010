"""The scoring script of batch deployments, which Azure ML's batch runtime calls. Wiring only.

For each file of rows (.jsonl, .json, .csv, .tsv, .parquet, .txt) it writes `NAME.answers.jsonl` to the folder of outputs,
with a line for each row, in their order: {"row": 1, "answer": …, "file": NAME}, or {"row": 2, "error": {"code", "message",
"line"}, "file": NAME} for a row that cannot be answered. The lines with an error are also in `NAME.failed.jsonl`, and are
counted in `NAME.summary.json`, which is written last.

A mini-batch that is tried again, such as after a kill, goes on where it was: each row of a finished file has one line.
"""

import logging
import sys
from pathlib import Path

from deployment.batch_file import FileScorer
from deployment.batch_options import Options

_scorer: FileScorer | None = None


def init() -> None:
    """Load the model; the runtime calls this once in each process."""
    global _scorer
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("deployment", "serving"):
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).handlers = [handler]
        logging.getLogger(name).propagate = False  # a handler of the root logger would repeat each line
    _scorer = FileScorer.load(Path(__file__).parents[1], Options.from_env())


def run(mini_batch: list[str]) -> list[str]:
    """Score files; return a line of JSON for each file that was scored, as the runtime counts the missing ones as failed."""
    assert _scorer is not None, "the batch runtime calls init() first"
    summaries = [_scorer.score(Path(path)) for path in mini_batch]
    return [summary.line for summary in summaries if summary.error is None]
