"""Read a BERT checkpoint folder: config.json and model.safetensors, whichever names its tensors were given."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import ml_dtypes  # noqa: F401 - comes with onnx; teaches numpy the name bfloat16, which safetensors needs
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from serving.errors import ModelFolderError

Array = npt.NDArray[np.float32]

ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
"""config.json's hidden_act -> the `approximate` attribute of ONNX's Gelu."""

WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"
DECODER = "cls.predictions.decoder.weight"

_DIMENSIONS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "type_vocab_size": "type_vocab_size",
}


@dataclass(frozen=True)
class BertConfig:
    """The dimensions of a BERT model, from its config.json."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    max_positions: int
    type_vocab_size: int
    layer_norm_eps: float
    activation: str

    @classmethod
    def from_json(cls, config: dict[str, Any]) -> Self:
        """Take what is needed of a config.json; raises ModelFolderError for a model that is not a BERT we compile."""
        expected = {"model_type": "bert", "position_embedding_type": "absolute", "is_decoder": False}
        for key, value in expected.items():
            if config.get(key, value) != value:
                raise ModelFolderError(f"config.json: expected {key} {value!r}, found {config[key]!r}")
        activation = config.get("hidden_act", "gelu")
        if activation not in list(ACTIVATIONS):
            raise ModelFolderError(f"config.json: expected hidden_act in {sorted(ACTIVATIONS)}, found {activation!r}")
        for key in _DIMENSIONS.values():
            if type(config.get(key)) is not int or not 0 < config[key] < 2**24:
                raise ModelFolderError(f"config.json: expected a positive number as {key}, found {config.get(key)!r}")
        dimensions: dict[str, int] = {field: config[key] for field, key in _DIMENSIONS.items()}
        hidden, heads = dimensions["hidden_size"], dimensions["num_heads"]
        if hidden % heads:
            raise ModelFolderError(
                f"config.json: hidden_size {hidden} is not a multiple of num_attention_heads {heads}"
            )
        epsilon = config.get("layer_norm_eps", 1e-12)
        if type(epsilon) is not float:
            raise ModelFolderError(f"config.json: expected a number as layer_norm_eps, found {epsilon!r}")
        return cls(**dimensions, layer_norm_eps=epsilon, activation=activation)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's config and its weights in fp32, under one set of names.

    The names are today's without the `bert.` prefix: `embeddings.LayerNorm.weight`, `encoder.layer.0.output.dense.bias`,
    `cls.predictions.decoder.weight`, … Where the decoder is tied to the word embeddings, both are one array.
    """

    config: BertConfig
    weights: dict[str, Array]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a masked-language-model checkpoint.

        Raises ModelFolderError where a file or tensor is missing, or a tensor's shape is not what config.json says.
        """
        config = BertConfig.from_json(read_config(folder))
        weights = {canonical_name(name): array for name, array in _read_tensors(weights_file(folder)).items()}
        decoder = weights.get(DECODER)
        tied = decoder is None or np.array_equal(decoder, weights.get(WORD_EMBEDDINGS, decoder))
        if tied and WORD_EMBEDDINGS in weights:
            weights[DECODER] = weights[WORD_EMBEDDINGS]
        for name, shape in expected_shapes(config).items():
            if name not in weights:
                raise ModelFolderError(
                    f"{folder}: no tensor {name} in model.safetensors; expected a masked-language model"
                )
            if weights[name].shape != shape:
                raise ModelFolderError(
                    f"{folder}: expected {name} of shape {shape}, as config.json says, found {weights[name].shape}"
                )
        fp32 = {name: weights[name].astype(np.float32) for name in expected_shapes(config)}
        if tied:
            fp32[DECODER] = fp32[WORD_EMBEDDINGS]
        return cls(config, fp32)


def read_config(folder: Path) -> dict[str, Any]:
    """Return config.json as it is; raises ModelFolderError where it is missing or not a JSON object."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError) as exc:
        raise ModelFolderError(f"{folder}: expected a config.json, found none that can be read ({exc})") from exc
    if not isinstance(config, dict):
        raise ModelFolderError(f"{folder}/config.json: expected a JSON object, found {type(config).__name__}")
    return config


def canonical_name(name: str) -> str:
    """Translate a tensor's name, e.g. Google's `bert.embeddings.LayerNorm.gamma` -> `embeddings.LayerNorm.weight`."""
    name = name.removeprefix("bert.")
    name = re.sub(r"\bLayerNorm\.gamma$", "LayerNorm.weight", name)
    name = re.sub(r"\bLayerNorm\.beta$", "LayerNorm.bias", name)
    return {"cls.predictions.decoder.bias": "cls.predictions.bias"}.get(name, name)


def expected_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each tensor that a masked-language model of these dimensions has."""
    hidden, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        WORD_EMBEDDINGS: (config.vocab_size, hidden),
        "embeddings.position_embeddings.weight": (config.max_positions, hidden),
        "embeddings.token_type_embeddings.weight": (config.type_vocab_size, hidden),
        DECODER: (config.vocab_size, hidden),
        "cls.predictions.bias": (config.vocab_size,),
    }
    linear = {"cls.predictions.transform.dense": (hidden, hidden)}
    norms = ["embeddings.LayerNorm", "cls.predictions.transform.LayerNorm"]
    for layer in range(config.num_layers):
        prefix = f"encoder.layer.{layer}."
        linear |= {f"{prefix}attention.self.{part}": (hidden, hidden) for part in ("query", "key", "value")}
        linear |= {
            f"{prefix}attention.output.dense": (hidden, hidden),
            f"{prefix}intermediate.dense": (inner, hidden),
            f"{prefix}output.dense": (hidden, inner),
        }
        norms += [f"{prefix}attention.output.LayerNorm", f"{prefix}output.LayerNorm"]
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}
    return shapes


def weights_file(folder: Path) -> Path:
    """Return a checkpoint's model.safetensors; raises ModelFolderError where there is none."""
    path = folder / "model.safetensors"
    if not path.is_file():
        pickles = sorted(p.name for p in folder.glob("*.bin"))
        hint = f"; {', '.join(pickles)} is a pickle, which can run code: convert it to safetensors" if pickles else ""
        raise ModelFolderError(f"{folder}: expected model.safetensors, found none{hint}")
    return path


def _read_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with safe_open(path, framework="numpy") as tensors:
            return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, TypeError) as exc:
        raise ModelFolderError(f"{path}: cannot be read: {exc}") from exc
