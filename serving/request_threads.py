"""How many requests the server hands to a process at the same time."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
from collections.abc import Mapping

logger = logging.getLogger("serving.request_threads")


def warn_of_few_threads(max_queue: int, environ: Mapping[str, str] = os.environ) -> None:
    """Log a warning where gunicorn runs this process with fewer request threads than the queue takes.

    What a request thread has not taken waits in gunicorn, where neither batches, 429 nor the deadline reach it; and the
    server's own default is one thread, with which requests never meet.
    """
    threads = _threads(environ.get("GUNICORN_CMD_ARGS", ""))
    if environ.get("SERVER_SOFTWARE", "").startswith("gunicorn") and threads <= max_queue:
        logger.warning(
            "expected more request threads than the %d requests of BERT_SERVING_MAX_QUEUE, found %d: the rest wait where "
            "neither batching, 429 nor the deadline reaches them; set GUNICORN_CMD_ARGS='--threads %d'",
            max_queue,
            threads,
            2 * max_queue,
        )


def _threads(arguments: str) -> int:
    """Return what gunicorn reads as its number of threads from GUNICORN_CMD_ARGS, e.g. "--threads 256" -> 256."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--threads", type=int, default=1)
    return int(parser.parse_known_args(shlex.split(arguments))[0].threads)
