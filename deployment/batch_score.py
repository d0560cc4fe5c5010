"""The scoring script of batch deployments: what Azure ML's batch runtime calls. Wiring only.

Files of rows in (.jsonl, .json, .csv, .tsv, .parquet, .txt), and for each of them `NAME.answers.jsonl` in the folder of
outputs, a line a row, in its order: {"row": 1, "answer": …, "file": NAME}, or {"row": 2, "error": {"code", "message",
"line"}, "file": NAME} for a row that cannot be answered. Those that cannot are also in `NAME.failed.jsonl`, and counted in
`NAME.summary.json`, which is written last.

A retried mini-batch, or a restart after a kill, goes on where it was: every row of a file that is done has one line.
"""

import logging
import sys
from pathlib import Path

from deployment.batch_file import FileScorer
from deployment.batch_options import Options

_scorer: FileScorer | None = None


def init() -> None:
    """Load the model, once in each process."""
    global _scorer
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("deployment", "serving"):
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).handlers = [handler]
        logging.getLogger(name).propagate = False  # the root logger, if it has a handler, would say it again
    _scorer = FileScorer.load(Path(__file__).parents[1], Options.from_env())


def run(mini_batch: list[str]) -> list[str]:
    """Score files; returns a line of JSON for each one that was scored, so that those missing count as failed."""
    assert _scorer is not None, "the batch runtime calls init() first"
    summaries = [_scorer.score(Path(path)) for path in mini_batch]
    return [summary.line for summary in summaries if summary.error is None]
