"""Pack a checkpoint for the kernels, and open the packed file.

The file is a safetensors file whose arrays start at multiples of 64 bytes, so that it can be mapped into memory: processes
share it, and only the parts in use are read. A linear layer `name` is stored as

    name.weights  int8 [outputs/32, inputs/64, 2, 16, 16, 4]   panels of 32 outputs, in the layout of products.h
    name.offsets  int32 [outputs]    128 x the sum of each output's weights, which the activations' zero point adds
    name.scales   float32 [outputs]  name.bias float32 [outputs]

with inputs rounded up to 64 and outputs to 32. Added outputs have a bias of -1e30, so that they are never the best word.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from serving.errors import ModelFolderError
from serving.model.checkpoint import ACTIVATIONS, WORD_EMBEDDINGS, Array, BertConfig, Checkpoint
from serving.tasks import TASKS, Task

PANEL, TILE_BYTES = 32, 64

GATES = {
    "none": (0.39469036, -0.06023819, 0.0068472517, -0.00043149409, 1.1225316e-05, 3.35),
    "tanh": (0.39486119, -0.060606416, 0.0069922861, -0.00045069412, 1.2048402e-05, 3.3),
}
"""Gelu's `approximate` -> the terms of an odd polynomial in x that approximates gelu(x)/x - 1/2 (fitted by weighted least
squares), and the limit of |x|. Its error, 0.001 for |x| <= 8, is small beside the rounding of int8."""


def unsuitable(config: BertConfig) -> str | None:
    """Return why the kernels cannot run a model of these dimensions; None if they can."""
    for name, size in (("hidden", config.hidden_size), ("intermediate", config.intermediate_size)):
        if size % PANEL:
            return f"its {name} size {size} is not a multiple of {PANEL}"
    size = config.hidden_size // config.num_heads
    together = next(count for count in range(1, PANEL + 1) if count * size % PANEL == 0)
    return (
        f"its {config.num_heads} heads of {size} do not fill panels of {PANEL}" if config.num_heads % together else None
    )


def pack(checkpoint: Checkpoint) -> list[bytes | memoryview]:
    """Return the packed file of a suitable checkpoint, in parts."""
    arrays = dict(_arrays(checkpoint))
    header: dict[str, Any] = {
        "__metadata__": {"config": json.dumps(asdict(checkpoint.config)), "task": checkpoint.task}
    }
    start = 0
    for name, array in arrays.items():
        padded = -(-array.nbytes // TILE_BYTES) * TILE_BYTES
        kind = {"int8": "I8", "int32": "I32", "float32": "F32"}[array.dtype.name]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [start, start + array.nbytes]}
        start += padded
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % TILE_BYTES)
    parts: list[bytes | memoryview] = [len(text).to_bytes(8, "little"), text]
    for array in arrays.values():
        parts += [np.ascontiguousarray(array).data, bytes(-array.nbytes % TILE_BYTES)]
    return parts


def _arrays(checkpoint: Checkpoint) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    config, weights = checkpoint.config, checkpoint.weights
    yield "words", weights[WORD_EMBEDDINGS]
    yield "positions", weights["embeddings.position_embeddings.weight"]
    none = np.zeros((1, config.hidden_size), np.float32)
    yield "segments", weights.get("embeddings.token_type_embeddings.weight", none)
    for layer in range(config.num_layers):
        prefix = f"encoder.layer.{layer}."
        parts = [f"{prefix}attention.self.{part}" for part in ("query", "key", "value")]
        yield from _linear(f"{prefix}attention.self", *(_joined(weights, parts, kind) for kind in ("weight", "bias")))
        for name in ("attention.output.dense", "intermediate.dense", "output.dense"):
            yield from _linear(prefix + name, weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"])
    head = TASKS[checkpoint.task].head
    if head.tokens == "masks":
        yield from _linear(head.dense, weights[f"{head.dense}.weight"], weights[f"{head.dense}.bias"])
        yield from _linear(head.layer, weights[head.weight], weights[head.bias])
    small = small_layers(checkpoint.task)
    for name, array in weights.items():
        if "LayerNorm." in name or name.rpartition(".")[0] in small:
            yield name, array


def small_layers(task: Task) -> tuple[str, ...]:
    """Return the layers of a task's head that stay in fp32, as they are computed in numpy: a few thousand products a row."""
    head = TASKS[task].head
    return () if head.tokens == "masks" else (head.dense, head.layer)


def _joined(weights: dict[str, Array], names: list[str], kind: str) -> Array:
    return np.concatenate([weights[f"{name}.{kind}"] for name in names])


def quantize_columns(weight: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantize a [rows, columns] weight symmetrically with a scale a column; the weight is about quantized * scale."""
    scale = np.maximum(np.abs(weight).max(axis=0), np.finfo(np.float32).tiny) / 127
    return np.rint(weight / scale).astype(np.int8), scale.astype(np.float32)


def _linear(name: str, weight: Array, bias: Array) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    outputs, inputs = (-(-size // unit) * unit for size, unit in zip(weight.shape, (PANEL, TILE_BYTES), strict=True))
    quantized, scales = quantize_columns(weight.T)
    whole = np.zeros((outputs, inputs), np.int8)
    whole[: weight.shape[0], : weight.shape[1]] = quantized.T
    panels = whole.reshape(outputs // PANEL, 2, 16, inputs // TILE_BYTES, 16, 4).transpose(0, 3, 1, 4, 2, 5)
    yield f"{name}.weights", np.ascontiguousarray(panels)
    yield f"{name}.offsets", 128 * whole.sum(axis=1, dtype=np.int32)
    yield f"{name}.scales", np.pad(scales, (0, outputs - len(scales)), constant_values=1)
    yield f"{name}.bias", np.pad(bias, (0, outputs - len(bias)), constant_values=-1e30)


class _Dense(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weights", "offsets", "scales", "bias")),
        ("inputs", ctypes.c_int32),
        ("outputs", ctypes.c_int32),
    )


class _Norm(ctypes.Structure):
    _fields_ = (("weight", ctypes.c_void_p), ("bias", ctypes.c_void_p))


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, _Dense) for name in ("attention", "attended", "inner", "outer")),
        ("attended_norm", _Norm),
        ("norm", _Norm),
    )


class _Model(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int32) for name in ("hidden", "inner", "heads", "layers", "vocabulary")),
        ("epsilon", ctypes.c_float),
        ("gate", ctypes.c_float * 6),
        *((name, ctypes.c_void_p) for name in ("words", "positions", "segments")),
        ("norm", _Norm),
        ("layer", ctypes.c_void_p),
        ("transform", _Dense),
        ("decoder", _Dense),
        ("transform_norm", _Norm),
    )


def is_packed(start: bytes) -> bool:
    """Return whether a file that starts with these bytes is a packed file, and not an ONNX graph."""
    return start[8:9] == b"{"


class Packed:
    """A packed model in memory: its arrays by name, and the C struct with pointers to them."""

    def __init__(self, content: Path | bytes) -> None:
        """Map a file, or take its bytes; raises ModelFolderError if it is cut short or not a packed file."""
        try:
            data = np.memmap(content, np.uint8, "r") if isinstance(content, Path) else np.frombuffer(content, np.uint8)
            length = 8 + int.from_bytes(data[:8].tobytes(), "little")
            header = json.loads(data[8:length].tobytes())
            described = header.pop("__metadata__")
            self.config = BertConfig(**json.loads(described["config"]))
            self.task = cast(Task, described["task"])
            self.arrays = {name: _view(data[length:], entry) for name, entry in header.items()}
            self.struct = self._model()
        except (OSError, ValueError, KeyError, TypeError) as exc:
            fix = f"; delete {content} to compile the model anew" if isinstance(content, Path) else ""
            raise ModelFolderError(f"the packed model cannot be read: {exc!r}{fix}") from exc

    def head(self) -> Checkpoint:
        """Return a checkpoint of only the head's layers that are computed in numpy (serving.engine.reference)."""
        weights = {
            name: array for name, array in self.arrays.items() if name.rpartition(".")[0] in small_layers(self.task)
        }
        return Checkpoint(self.config, weights, self.task)

    def _model(self) -> _Model:
        config = self.config
        self._layers = (_Layer * config.num_layers)(*map(self._layer, range(config.num_layers)))
        model = _Model(
            hidden=config.hidden_size,
            inner=config.intermediate_size,
            heads=config.num_heads,
            layers=config.num_layers,
            epsilon=config.layer_norm_eps,
            gate=GATES[ACTIVATIONS[config.activation]],
            norm=self._norm("embeddings.LayerNorm"),
            layer=ctypes.cast(self._layers, ctypes.c_void_p),
            **{name: self._at(name) for name in ("words", "positions", "segments")},
        )
        head = TASKS[self.task].head
        if head.tokens == "masks":
            model.vocabulary = config.vocab_size
            model.transform = self._dense(head.dense)
            model.transform_norm = self._norm(head.norm)
            model.decoder = self._dense(head.layer)
        return model

    def _layer(self, index: int) -> _Layer:
        prefix = f"encoder.layer.{index}."
        return _Layer(
            attention=self._dense(f"{prefix}attention.self"),
            attended=self._dense(f"{prefix}attention.output.dense"),
            inner=self._dense(f"{prefix}intermediate.dense"),
            outer=self._dense(f"{prefix}output.dense"),
            attended_norm=self._norm(f"{prefix}attention.output.LayerNorm"),
            norm=self._norm(f"{prefix}output.LayerNorm"),
        )

    def _dense(self, name: str) -> _Dense:
        panels, steps = self.arrays[f"{name}.weights"].shape[:2]
        pointers = [self._at(f"{name}.{part}") for part in ("weights", "offsets", "scales", "bias")]
        return _Dense(*pointers, steps * TILE_BYTES, panels * PANEL)

    def _norm(self, name: str) -> _Norm:
        return _Norm(self._at(f"{name}.weight"), self._at(f"{name}.bias"))

    def _at(self, name: str) -> int:
        return self.arrays[name].ctypes.data


def _view(data: npt.NDArray[np.uint8], entry: dict[str, Any]) -> npt.NDArray[Any]:
    kind = {"I8": np.int8, "I32": np.int32, "F32": np.float32}[entry["dtype"]]
    start, end = entry["data_offsets"]
    result: npt.NDArray[Any] = data[start:end].view(kind).reshape(entry["shape"])
    return result
