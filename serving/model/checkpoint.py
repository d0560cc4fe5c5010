"""Read a BERT or DistilBERT checkpoint folder: config.json and model.safetensors, with the tensors of its task.

Writers of checkpoints name tensors in several ways. Here they have the names of today's transformers for BERT without the
`bert.` prefix: `embeddings.LayerNorm.weight`, `encoder.layer.0.output.dense.bias`, `pooler.dense.weight`,
`classifier.weight`, `qa_outputs.weight`, …
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import ml_dtypes  # noqa: F401 - comes with onnx; teaches numpy the name bfloat16, which safetensors needs
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from serving.engine.machine import check_fits
from serving.errors import ModelFolderError, NotFiniteError
from serving.tasks import TASKS, Labels, Task, find_task
from tables.disk import read_regular

Array = npt.NDArray[np.float32]

WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"
DECODER = "cls.predictions.decoder.weight"

_RENAMED = (
    # Google's
    (r"\bLayerNorm\.gamma$", "LayerNorm.weight"),
    (r"\bLayerNorm\.beta$", "LayerNorm.bias"),
    (r"^cls\.predictions\.decoder\.bias$", "cls.predictions.bias"),
    # DistilBERT's
    (r"^transformer\.layer\.", "encoder.layer."),
    (r"\.attention\.q_lin\.", ".attention.self.query."),
    (r"\.attention\.k_lin\.", ".attention.self.key."),
    (r"\.attention\.v_lin\.", ".attention.self.value."),
    (r"\.attention\.out_lin\.", ".attention.output.dense."),
    (r"\.sa_layer_norm\.", ".attention.output.LayerNorm."),
    (r"\.ffn\.lin1\.", ".intermediate.dense."),
    (r"\.ffn\.lin2\.", ".output.dense."),
    (r"\.output_layer_norm\.", ".output.LayerNorm."),
    (r"^vocab_transform\.", "cls.predictions.transform.dense."),
    (r"^vocab_layer_norm\.", "cls.predictions.transform.LayerNorm."),
    (r"^vocab_projector\.weight$", DECODER),
    (r"^vocab_projector\.bias$", "cls.predictions.bias"),
    (r"^pre_classifier\.", "pooler.dense."),
)

ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
"""config.json's hidden_act -> the `approximate` attribute of ONNX's Gelu."""

KEYS = {
    "bert": {
        "vocab_size": "vocab_size",
        "hidden_size": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "intermediate_size": "intermediate_size",
        "max_positions": "max_position_embeddings",
        "type_vocab_size": "type_vocab_size",
    },
    "distilbert": {
        "vocab_size": "vocab_size",
        "hidden_size": "dim",
        "num_layers": "n_layers",
        "num_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "max_positions": "max_position_embeddings",
    },
}
"""model_type -> the key of each dimension in its config.json."""

LIMITS = {"num_layers": (1, 1024), "max_positions": (8, 2**24)}
"""The least and the greatest value of a dimension, if it is not 1 and 2**24: no model has more layers, and with fewer positions
there is no room for a question and its context."""

CONFIG_BYTES = 64_000_000
"""The largest config.json; the file of a classifier with a thousand labels has a tenth of a megabyte."""

_ACTIVATION_KEYS = {"bert": "hidden_act", "distilbert": "activation"}


@dataclass(frozen=True)
class BertConfig:
    """The dimensions of a BERT model from its config.json. A DistilBERT is a BERT with 0 token types."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    max_positions: int
    type_vocab_size: int
    layer_norm_eps: float
    activation: str
    pooler_activation: Literal["tanh", "relu"]

    @classmethod
    def from_json(cls, config: dict[str, Any]) -> Self:
        """Read the dimensions of a config.json; raises ModelFolderError for a model that cannot be compiled."""
        kind = config.get("model_type", "bert")
        if kind not in list(KEYS):
            raise ModelFolderError(f"config.json: expected model_type 'bert' or 'distilbert', found {kind!r}")
        expected = {"position_embedding_type": "absolute", "is_decoder": False}
        for key, value in expected.items():
            if config.get(key, value) != value:
                raise ModelFolderError(f"config.json: expected {key} {value!r}, found {config[key]!r}")
        activation = config.get(_ACTIVATION_KEYS[kind], "gelu")
        if activation not in list(ACTIVATIONS):
            key = _ACTIVATION_KEYS[kind]
            raise ModelFolderError(f"config.json: expected {key} in {sorted(ACTIVATIONS)}, found {activation!r}")
        for field, key in KEYS[kind].items():
            least, most = LIMITS.get(field, (1, 2**24))
            if type(config.get(key)) is not int or not least <= config[key] <= most:
                raise ModelFolderError(
                    f"config.json: expected a whole number from {least} to {most} as {key}, found {config.get(key)!r}"
                )
        dimensions: dict[str, int] = {field: config[key] for field, key in KEYS[kind].items()}
        hidden, heads = dimensions["hidden_size"], dimensions["num_heads"]
        if hidden % heads:
            names = KEYS[kind]["hidden_size"], KEYS[kind]["num_heads"]
            raise ModelFolderError(f"config.json: {names[0]} {hidden} is not a multiple of {names[1]} {heads}")
        epsilon = config.get("layer_norm_eps", 1e-12)
        if type(epsilon) is not float or not 0 <= epsilon < 1:
            raise ModelFolderError(f"config.json: expected a small number as layer_norm_eps, found {epsilon!r}")
        return cls(
            **{"type_vocab_size": 0, **dimensions},
            layer_norm_eps=epsilon,
            activation=activation,
            pooler_activation="tanh" if kind == "bert" else "relu",
        )


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's config, its task and its weights in fp32, by their canonical names.

    `labels` are a classifier's, and None for other tasks. If a decoder is tied to the word embeddings, both are one array.
    """

    config: BertConfig
    weights: dict[str, Array]
    task: Task = "fill-mask"
    labels: Labels | None = None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a checkpoint with the tensors of its task.

        Raises ModelFolderError if a file or tensor is missing, or a tensor's shape does not match config.json.
        """
        with _opened(weights_file(folder)) as tensors:
            config, task, labels, shapes = _header(folder, tensors)
            check_fits(f"the weights of {folder} in fp32", 4 * sum(map(math.prod, shapes.values())))
            names = {canonical_name(name): name for name in tensors.keys()}  # noqa: SIM118 - not a mapping
            fp32 = {name: _fp32(folder, name, tensors.get_tensor(names[name])) for name in shapes if name in names}
        if DECODER in shapes:
            decoder = fp32.setdefault(DECODER, fp32[WORD_EMBEDDINGS])
            if np.array_equal(decoder, fp32[WORD_EMBEDDINGS]):
                fp32[DECODER] = fp32[WORD_EMBEDDINGS]
        return cls(config, fp32, task, labels)


def check(folder: Path) -> tuple[BertConfig, Task]:
    """Return a checkpoint's dimensions and task, after the checks of Checkpoint.read except the checks of the numbers.

    Raises ModelFolderError, also for a weights file that is shorter than its header says, such as a cut download.
    """
    with _opened(weights_file(folder)) as tensors:
        config, task, _, _ = _header(folder, tensors)
    return config, task


class _Header(NamedTuple):
    """What config.json and the header of the weights say."""

    config: BertConfig
    task: Task
    labels: Labels | None
    shapes: dict[str, tuple[int, ...]]


def _header(folder: Path, tensors: Any) -> _Header:  # noqa: ANN401 - safetensors comes without types
    """Read config.json and the header of the weights; raises ModelFolderError if they do not fit together."""
    content = read_config(folder)
    config = BertConfig.from_json(content)
    present = {canonical_name(name): tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118 - not a mapping
    task = find_task(folder, content, present)
    labels = Labels.from_json(content) if TASKS[task].head.size == "labels" else None
    if WORD_EMBEDDINGS in present:
        present.setdefault(DECODER, present[WORD_EMBEDDINGS])
    shapes = expected_shapes(config, task, labels)
    _check_shapes(folder, task, shapes, present)
    return _Header(config, task, labels, shapes)


def _fp32(folder: Path, name: str, array: npt.NDArray[Any]) -> Array:
    """Return a tensor's numbers in fp32; raises ModelFolderError if they are not real, or one is not finite."""
    if array.dtype.kind in "biuc":
        raise ModelFolderError(f"{folder}: expected {name} in floating point, found {array.dtype}; save it in fp32")
    with np.errstate(over="ignore"):
        fp32: Array = array.astype(np.float32, copy=False)
    if not (
        np.isfinite(fp32.min()) and np.isfinite(fp32.max())
    ):  # the least and the greatest are NaN if there is a NaN
        raise NotFiniteError(folder, name)
    return fp32


def _check_shapes(
    folder: Path, task: Task, expected: Mapping[str, tuple[int, ...]], present: Mapping[str, tuple[int, ...]]
) -> None:
    for name, shape in expected.items():
        if name not in present:
            raise ModelFolderError(f"{folder}: no tensor {name} in model.safetensors; expected a {TASKS[task].model}")
        if present[name] != shape:
            raise ModelFolderError(
                f"{folder}: expected {name} of shape {shape}, as config.json says, found {present[name]}"
            )


def read_task(folder: Path) -> Task:
    """Return a checkpoint folder's task, without reading its weights; raises ModelFolderError."""
    with _opened(weights_file(folder)) as tensors:
        names = [canonical_name(name) for name in tensors.keys()]  # noqa: SIM118 - not a mapping
    return find_task(folder, read_config(folder), names)


def read_config(folder: Path) -> dict[str, Any]:
    """Return the content of config.json; raises ModelFolderError if it is missing or not a JSON object."""
    try:
        config = json.loads(read_regular(folder / "config.json", CONFIG_BYTES))
    except (OSError, ValueError, RecursionError) as exc:
        raise ModelFolderError(f"{folder}: expected a config.json, found none that can be read ({exc})") from exc
    if not isinstance(config, dict):
        raise ModelFolderError(f"{folder}/config.json: expected a JSON object, found {type(config).__name__}")
    return config


def expected_shapes(
    config: BertConfig, task: Task = "fill-mask", labels: Labels | None = None
) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each tensor that a model of these dimensions needs for its task."""
    hidden, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        WORD_EMBEDDINGS: (config.vocab_size, hidden),
        "embeddings.position_embeddings.weight": (config.max_positions, hidden),
    }
    if config.type_vocab_size:
        shapes["embeddings.token_type_embeddings.weight"] = (config.type_vocab_size, hidden)
    linear: dict[str, tuple[int, int]] = {}
    norms = ["embeddings.LayerNorm"]
    for layer in range(config.num_layers):
        prefix = f"encoder.layer.{layer}."
        linear |= {f"{prefix}attention.self.{part}": (hidden, hidden) for part in ("query", "key", "value")}
        linear |= {
            f"{prefix}attention.output.dense": (hidden, hidden),
            f"{prefix}intermediate.dense": (inner, hidden),
            f"{prefix}output.dense": (hidden, inner),
        }
        norms += [f"{prefix}attention.output.LayerNorm", f"{prefix}output.LayerNorm"]
    head = TASKS[task].head
    sizes = {"vocabulary": config.vocab_size, "labels": len(labels.names) if labels else 2}
    size = head.size if isinstance(head.size, int) else sizes[head.size]
    shapes |= {head.weight: (size, hidden), head.bias: (size,)}
    linear |= {head.dense: (hidden, hidden)} if head.dense else {}
    norms += [head.norm] if head.norm else []
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}
    return shapes


def weights_file(folder: Path) -> Path:
    """Return a checkpoint's model.safetensors; raises ModelFolderError if there is none."""
    path = folder / "model.safetensors"
    if not path.is_file():
        pickles = sorted(p.name for p in folder.glob("*.bin"))
        hint = f"; {', '.join(pickles)} is a pickle, which can run code: convert it to safetensors" if pickles else ""
        raise ModelFolderError(f"{folder}: expected model.safetensors, found none{hint}")
    return path


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open weights; errors of safetensors and numpy while they are open become a ModelFolderError."""
    try:
        with safe_open(path, framework="numpy") as tensors:
            yield tensors
    except (OSError, SafetensorError, TypeError, ValueError, AttributeError) as exc:
        raise ModelFolderError(f"{path}: cannot be read: {exc}") from exc
    except MemoryError as exc:
        raise ModelFolderError(f"{path}: there is not enough memory to read it; use a larger machine") from exc


def canonical_name(name: str) -> str:
    """Translate a tensor's name, such as DistilBERT's `distilbert.transformer.layer.0.ffn.lin2.bias`.

    >>> canonical_name("bert.embeddings.LayerNorm.gamma")
    'embeddings.LayerNorm.weight'
    """
    name = name.removeprefix("bert.").removeprefix("distilbert.")
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name
