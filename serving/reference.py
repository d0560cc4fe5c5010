"""BERT for masked words in plain numpy: slow, short, and what a compiled graph is checked against."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from serving.checkpoint import DECODER, WORD_EMBEDDINGS, Array, Checkpoint

_erf = np.vectorize(math.erf, otypes=[np.float32])


def logits(checkpoint: Checkpoint, ids: npt.NDArray[np.int64]) -> Array:
    """Return the vocabulary's scores, float32 [tokens, vocabulary], for one unpadded row of token ids [tokens]."""
    config, weights = checkpoint.config, checkpoint.weights

    def linear(name: str, data: Array) -> Array:
        result: Array = data @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        return result

    def norm(name: str, data: Array) -> Array:
        centered = data - data.mean(-1, keepdims=True)
        scaled = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + config.layer_norm_eps)
        result: Array = scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return result

    def heads(data: Array) -> Array:
        return data.reshape(len(ids), config.num_heads, -1).transpose(1, 0, 2)

    hidden = weights[WORD_EMBEDDINGS][ids] + weights["embeddings.token_type_embeddings.weight"][0]
    hidden = norm("embeddings.LayerNorm", hidden + weights["embeddings.position_embeddings.weight"][: len(ids)])
    for index in range(config.num_layers):
        layer = f"encoder.layer.{index}"
        query, key, value = (
            heads(linear(f"{layer}.attention.self.{part}", hidden)) for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        context = (shares / shares.sum(-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(hidden.shape)
        attended = norm(
            f"{layer}.attention.output.LayerNorm", linear(f"{layer}.attention.output.dense", context) + hidden
        )
        inner = _activate(linear(f"{layer}.intermediate.dense", attended), config.activation)
        hidden = norm(f"{layer}.output.LayerNorm", linear(f"{layer}.output.dense", inner) + attended)
    transformed = _activate(linear("cls.predictions.transform.dense", hidden), config.activation)
    transformed = norm("cls.predictions.transform.LayerNorm", transformed)
    result: Array = transformed @ weights[DECODER].T + weights["cls.predictions.bias"]
    return result


def _activate(data: Array, activation: str) -> Array:
    # Hendrycks and Gimpel, 2016: the exact Gelu, and its tanh approximation.
    if activation == "gelu":
        result: Array = data * (1 + _erf(data / np.float32(math.sqrt(2)))) / 2
        return result
    inner = np.float32(math.sqrt(2 / math.pi)) * (data + np.float32(0.044715) * data**3)
    result = data * (1 + np.tanh(inner)) / 2
    return result
