"""Run batches through the kernels, with the inputs and outputs of the ONNX graphs (serving.engine.graph)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.engine import reference
from serving.engine.machine import usable_cpus
from serving.errors import ModelFolderError
from serving.native import library
from serving.native.weights import PANEL, Packed
from serving.tasks import TASKS


class _Batch(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int32) for name in ("rows", "asked", "k")),
        *(
            (name, ctypes.c_void_p)
            for name in ("tokens", "segments", "starts", "selected", "hidden", "scores", "best", "best_scores")
        ),
    )


class NativeSession:
    """A packed model and the threads that run it; one call of `run` at a time."""

    def __init__(self, content: Path | bytes, threads: int) -> None:
        """Open a packed model with `threads` threads, or with 0 for all CPUs that this process may use.

        Raises ModelFolderError if the model cannot be read, or there are no kernels for this machine.
        """
        self._packed = Packed(content)
        try:
            self._library = library.load()
        except library.NotAvailable as exc:
            raise ModelFolderError(f"the model is packed for kernels that cannot be used: {exc}") from exc
        self._head = self._packed.head()
        # Kept from batch to batch: the system would map so much memory page by page again for each batch, and for each
        # request thread that runs a batch.
        self._scores = np.empty(0, np.float32)
        self._process = os.getpid()
        self._engine = self._library.engine_open(ctypes.byref(self._packed.struct), threads or usable_cpus())
        if not self._engine:
            raise MemoryError("there is not enough memory for the engine")

    def __del__(self) -> None:
        # A fork has none of the threads that closing waits for.
        if getattr(self, "_engine", None) and os.getpid() == self._process:
            self._library.engine_close(self._engine)

    def run(self, outputs: Sequence[str], feeds: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Return the named outputs of a padded batch; the padding is removed before the computation."""
        lengths = feeds["lengths"]
        real = np.arange(feeds["input_ids"].shape[1]) < lengths[:, None]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        tokens = feeds["input_ids"][real].astype(np.int32)
        segments = feeds["segments"][real].astype(np.int32)
        self._check(tokens, segments, lengths)
        facts = TASKS[self._packed.task].head
        if facts.tokens == "masks":
            results = self._fill_mask(outputs, feeds, tokens, segments, starts)
        elif facts.tokens == "first":
            hidden = self._run(tokens, segments, starts, starts[:-1])["hidden"]
            results = {facts.outputs[0]: reference.head(self._head, hidden)}
        else:
            hidden = self._run(tokens, segments, starts, np.arange(len(tokens), dtype=np.int32))["hidden"]
            padded = np.zeros((len(facts.outputs), *real.shape), np.float32)
            padded[:, real] = reference.head(self._head, hidden).T
            results = dict(zip(facts.outputs, padded, strict=True))
        return [results[name] for name in outputs]

    def _check(self, tokens: npt.NDArray[np.int32], segments: npt.NDArray[np.int32], lengths: npt.NDArray[Any]) -> None:
        """Raise ValueError for numbers beyond the model's tables, which the kernels do not check."""
        config = self._packed.config
        if (
            config.type_vocab_size < 2
        ):  # the model has one segment only, and other segments are ignored, as in the ONNX graphs
            segments[:] = 0
        limits = {"token id": (tokens, config.vocab_size), "length": (lengths, config.max_positions + 1)}
        limits["token type"] = (segments, max(1, config.type_vocab_size))
        for name, (values, limit) in limits.items():
            if len(values) and not 0 <= values.min() <= values.max() < limit:
                raise ValueError(f"expected each {name} to be below {limit}, found {values.max()}")

    def _fill_mask(
        self,
        outputs: Sequence[str],
        feeds: dict[str, npt.NDArray[Any]],
        tokens: npt.NDArray[np.int32],
        segments: npt.NDArray[np.int32],
        starts: npt.NDArray[np.int32],
    ) -> dict[str, npt.NDArray[Any]]:
        rows, columns = np.divmod(feeds["positions"].reshape(-1)[feeds["selected"]], feeds["input_ids"].shape[1])
        selected = (starts[rows] + columns).astype(np.int32)
        # The kernels need the selected tokens in ascending order; a passage may list its masks in another order.
        order = np.argsort(selected, kind="stable")
        back = np.argsort(order)
        k = 0 if list(outputs) == ["logits"] else int(feeds["k"][0])
        computed = self._run(tokens, segments, starts, selected[order], k)
        if not k:
            return {"logits": computed["scores"][back, : self._packed.config.vocab_size]}
        return {
            "tokens": computed["best"][back],
            "scores": computed["best_scores"][back],
            "target_scores": np.take_along_axis(computed["scores"], feeds["targets"][order], axis=1)[back],
        }

    def _run(
        self,
        tokens: npt.NDArray[np.int32],
        segments: npt.NDArray[np.int32],
        starts: npt.NDArray[np.int32],
        selected: npt.NDArray[np.int32],
        k: int = 0,
    ) -> dict[str, npt.NDArray[Any]]:
        """Return the hidden states at the selected tokens; with a fill-mask head also the scores and the k best.

        The next call overwrites the scores.
        """
        config, asked = self._packed.config, len(selected)
        words = -(-config.vocab_size // PANEL) * PANEL if TASKS[self._packed.task].head.tokens == "masks" else 0
        if asked * words > self._scores.size:
            self._scores = np.empty(asked * words, np.float32)
        taken = {"tokens": tokens, "segments": segments, "starts": starts, "selected": selected}
        made: dict[str, npt.NDArray[Any]] = {
            "hidden": np.empty((asked, config.hidden_size), np.float32),
            "scores": self._scores[: asked * words].reshape(asked, words),
            "best": np.empty((asked, k), np.int64),
            "best_scores": np.empty((asked, k), np.float32),
        }
        pointers: dict[str, int | None] = {name: array.ctypes.data for name, array in {**taken, **made}.items()}
        if not words:
            pointers["scores"] = None
        batch = _Batch(rows=len(starts) - 1, asked=asked, k=k, **pointers)
        if self._library.engine_run(self._engine, ctypes.byref(batch)):
            raise MemoryError(f"there is not enough memory for a batch of {len(tokens)} tokens")
        return made
