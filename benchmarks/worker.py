"""A process that holds one system of benchmarks.peers and does what it is told, a JSON object a line.

    {"do": "prepare", "system": NAME, "model": …, "cache": …, "threads": 2}   -> {"versions": {…}}
    {"do": "answer", "batch": {…}}                                             -> {"tokens": […], "scores": […]}
    {"do": "time", "batch": {…}, "seconds": 0.2, "warm_up": true}              -> {"seconds": [one a call]}
    {"do": "ceiling", "threads": 2}                                            -> benchmarks.ceiling.measure's figures

An exception is answered with {"error": …}. Libraries that print cannot disturb the answers: these go to the
descriptor that standard output was at the start, and standard output becomes standard error.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any, TextIO

from benchmarks.inputs import Batch
from benchmarks.peers import SYSTEMS, Job, Peer

PACKAGES = ("torch", "transformers", "onnxruntime", "openvino", "nncf", "onnx", "tokenizers", "numpy")


class Worker:
    """Carries out commands; a batch is known by its content, so that it is parsed outside the timing."""

    peer: Peer

    def prepare(self, system: str, model: str, cache: str, threads: int, **options: object) -> dict[str, Any]:
        """Load a system; returns the versions of what it uses. `options` are added to those of the system."""
        described = SYSTEMS[system]
        module, name = described.maker
        maker = getattr(importlib.import_module(f"benchmarks.peers.{module}"), name)
        self.peer = maker(**{**described.options, **options})
        self.peer.prepare(Job(Path(model), Path(cache), threads))
        found = [package for package in PACKAGES if package in sys.modules]
        return {"versions": {package: importlib.metadata.version(package) for package in found}}

    def answer(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the best tokens and their probabilities."""
        tokens, scores = self.peer.run(Batch(**batch))
        return {"tokens": tokens, "scores": scores}

    def time(self, batch: dict[str, Any], seconds: float, warm_up: bool) -> dict[str, Any]:
        """Return the seconds of each call: as many calls as fit into `seconds`, at least one."""
        rows, run = Batch(**batch), self.peer.run
        if warm_up:
            run(rows)
        found = []
        end = time.perf_counter() + seconds
        while not found or time.perf_counter() < end:
            start = time.perf_counter()
            run(rows)
            found.append(time.perf_counter() - start)
        return {"seconds": found}

    def ceiling(self, threads: int) -> dict[str, Any]:
        """Return what the hardware can do."""
        return dict(importlib.import_module("benchmarks.ceiling").measure(threads))


def serve(commands: TextIO, answers: TextIO) -> None:
    """Answer commands until there are no more."""
    worker = Worker()
    for line in commands:
        command = json.loads(line)
        try:
            answer = getattr(worker, command.pop("do"))(**command)
        except Exception as exc:
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        serve(sys.stdin, answers)
