"""The systems that are timed in process: their table, our own, and the arrays that exported models take.

The module of a system is imported only in the worker process of the system (benchmarks.workers). That process runs in
the system's environment, and the thread pools of two systems never meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.inputs import Batch

Answers = tuple[list[int], list[float]]
"""For each row, the best token at its mask and the token's probability."""

PAD = 0


@dataclass(frozen=True)
class Job:
    """The input of `Peer.prepare`: a checkpoint folder, a folder for exported models, and the number of threads."""

    model: Path
    cache: Path
    threads: int


class Peer(Protocol):
    """A system that answers batches."""

    def prepare(self, job: Job) -> None:
        """Load the model; a slow step, such as an export or a calibration, is done once and kept in `job.cache`."""

    def run(self, batch: Batch) -> Answers:
        """Answer a batch, from its token ids or, for a system of the level `text`, from its texts."""


@dataclass(frozen=True)
class System:
    """A peer with its settings.

    level: `ids` starts from token ids, `text` from texts; only systems of one level are compared.
    environment: the folder in .venv whose interpreter runs it.
    maker: module and class of the peer; options: the arguments of the class.
    """

    name: str
    level: str
    environment: str
    maker: tuple[str, str]
    options: dict[str, object]
    precision: str


OURS = "ours int8"
OURS_FP32 = "ours fp32"
OURS_TEXT = "ours int8, from text"


def _systems() -> list[System]:
    ours = ("benchmarks.peers.systems", "Ours")
    onnx = ("benchmarks.peers.onnx_runtime", "OnnxRuntime")
    openvino = ("benchmarks.peers.open_vino", "OpenVino")
    pipeline = ("benchmarks.peers.transformers_model", "Pipeline")
    systems = [
        System(OURS_FP32, "ids", "serving", ours, {"precision": "fp32"}, "fp32"),
        System(OURS, "ids", "serving", ours, {"precision": "int8"}, "int8"),
    ]
    for name, maker, precisions in (("ONNX Runtime", onnx, ("fp32", "int8")), ("OpenVINO", openvino, ("bf16", "int8"))):
        for precision in precisions:
            for head, suffix in (("masked", ""), ("full", ", full head")):
                options: dict[str, object] = {"precision": precision, "head": head}
                systems.append(System(f"{name} {precision}{suffix}", "ids", "bench", maker, options, precision))
    systems.append(System(OURS_TEXT, "text", "serving", ours, {"precision": "int8", "text": True}, "int8"))
    for precision in ("fp32", "bf16"):
        name = f"transformers pipeline {precision}"
        systems.append(System(name, "text", "bench", pipeline, {"precision": precision}, precision))
    return systems


SYSTEMS = {system.name: system for system in _systems()}
"""The systems by name, in the order of the report. ONNX Runtime's int8 is dynamic and OpenVINO's is static."""


class Ours:
    """The engine of serving/: FillMask from texts, or its engine from token ids."""

    def __init__(self, precision: str, text: bool = False) -> None:
        """Take the settings; `prepare` loads the model."""
        self._precision = precision
        self.run = self._run_texts if text else self._run_ids

    def prepare(self, job: Job) -> None:
        """Load the model, and compile it on the first call."""
        from serving.answering.fill_mask import FillMask
        from serving.settings import Settings

        settings = Settings(threads=job.threads, cache_dir=job.cache / "ours")
        self._model: Any = FillMask.load(job.model, self._precision, settings)
        self._model.engine.warm_up()

    def _run_ids(self, batch: Batch) -> Answers:
        from serving.model.tokenizer import Passage

        passages = [Passage(ids, [mask]) for ids, mask in zip(batch.ids, batch.masks, strict=True)]
        best = [mask for (mask,) in self._model.engine.run(passages)]
        return [mask.tokens[0] for mask in best], [mask.scores[0] for mask in best]

    def _run_texts(self, batch: Batch) -> Answers:
        best = [candidates[0] for (candidates,) in self._model.fill(batch.texts)]
        return [candidate.token for candidate in best], [candidate.score for candidate in best]


def feeds(batch: Batch) -> dict[str, npt.NDArray[np.int64]]:
    """Return the inputs of an exported model.

    `input_ids` and `attention_mask` are [rows, longest]; `positions` [rows] has the masks' places in the flattened rows.

    >>> feeds(Batch(["", ""], [[7, 8, 9], [7, 9]], [1, 0]))["positions"]
    array([1, 3])
    """
    ids = np.full((len(batch.ids), batch.longest), PAD, np.int64)
    real = np.zeros_like(ids)
    for index, row in enumerate(batch.ids):
        ids[index, : len(row)] = row
        real[index, : len(row)] = 1
    positions = np.arange(len(batch.ids)) * batch.longest + np.array(batch.masks)
    return {"input_ids": ids, "attention_mask": real, "positions": positions}


def best_of_logits(logits: npt.NDArray[np.float32], positions: npt.NDArray[np.int64]) -> Answers:
    """Return the best token at each position and its probability, from the scores [rows, tokens, vocabulary]."""
    scores = logits.reshape(-1, logits.shape[-1])[positions].astype(np.float32)
    tokens = scores.argmax(axis=-1)
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return tokens.tolist(), (1 / shifted.sum(axis=-1)).tolist()
