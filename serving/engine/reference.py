"""BERT in plain numpy: slow, short, and what a compiled graph is checked against.

`encode` turns a row's token ids into hidden states; `head` turns hidden states, at the positions that a task wants, into
its logits: fill-mask at the masks, text classification at [CLS], question answering at every token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serving.model.checkpoint import DECODER, WORD_EMBEDDINGS, Array, Checkpoint
from serving.tasks import Task

_erf = np.vectorize(math.erf, otypes=[np.float32])

SCORING_LAYER: dict[Task, tuple[str, str]] = {
    "fill-mask": (DECODER, "cls.predictions.bias"),
    "text-classification": ("classifier.weight", "classifier.bias"),
    "question-answering": ("qa_outputs.weight", "qa_outputs.bias"),
}
"""The weight and the bias of each task's last layer."""


def encode(checkpoint: Checkpoint, ids: npt.NDArray[np.int64], segments: Sequence[int] = ()) -> Array:
    """Return the last hidden states, float32 [tokens, hidden], of one unpadded row of token ids [tokens].

    `segments` are the token types [tokens]; empty where all are 0.
    """
    config, weights = checkpoint.config, checkpoint.weights

    def heads(data: Array) -> Array:
        return data.reshape(len(ids), config.num_heads, -1).transpose(1, 0, 2)

    hidden = weights[WORD_EMBEDDINGS][ids]
    if config.type_vocab_size:
        hidden = hidden + weights["embeddings.token_type_embeddings.weight"][list(segments) or [0]]
    hidden = hidden + weights["embeddings.position_embeddings.weight"][: len(ids)]
    hidden = _norm(checkpoint, "embeddings.LayerNorm", hidden)
    for index in range(config.num_layers):
        layer = f"encoder.layer.{index}"
        query, key, value = (
            heads(_linear(checkpoint, f"{layer}.attention.self.{part}", hidden)) for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        context = (shares / shares.sum(-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(hidden.shape)
        attended = _linear(checkpoint, f"{layer}.attention.output.dense", context) + hidden
        attended = _norm(checkpoint, f"{layer}.attention.output.LayerNorm", attended)
        inner = _activate(_linear(checkpoint, f"{layer}.intermediate.dense", attended), config.activation)
        hidden = _linear(checkpoint, f"{layer}.output.dense", inner) + attended
        hidden = _norm(checkpoint, f"{layer}.output.LayerNorm", hidden)
    return hidden


def head(checkpoint: Checkpoint, hidden: Array) -> Array:
    """Return the task's logits for hidden states [M, hidden] at the positions that it wants.

    float32 [M, vocabulary] for masks, [M, labels] for the [CLS] of M rows, [M, 2] (start, end) for M tokens.
    """
    weight, bias = SCORING_LAYER[checkpoint.task]
    result: Array = features(checkpoint, hidden) @ checkpoint.weights[weight].T + checkpoint.weights[bias]
    return result


def features(checkpoint: Checkpoint, hidden: Array) -> Array:
    """Return what the task's last layer scores, float32 [M, hidden]."""
    config = checkpoint.config
    if checkpoint.task == "fill-mask":
        transformed = _linear(checkpoint, "cls.predictions.transform.dense", hidden)
        return _norm(checkpoint, "cls.predictions.transform.LayerNorm", _activate(transformed, config.activation))
    if checkpoint.task == "text-classification":
        pooled = _linear(checkpoint, "pooler.dense", hidden)
        result: Array = np.tanh(pooled) if config.pooler_activation == "tanh" else np.maximum(pooled, 0)
        return result
    return hidden


def _linear(checkpoint: Checkpoint, name: str, data: Array) -> Array:
    result: Array = data @ checkpoint.weights[f"{name}.weight"].T + checkpoint.weights[f"{name}.bias"]
    return result


def _norm(checkpoint: Checkpoint, name: str, data: Array) -> Array:
    centered = data - data.mean(-1, keepdims=True)
    scaled = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + checkpoint.config.layer_norm_eps)
    result: Array = scaled * checkpoint.weights[f"{name}.weight"] + checkpoint.weights[f"{name}.bias"]
    return result


def _activate(data: Array, activation: str) -> Array:
    # Hendrycks and Gimpel, 2016: the exact Gelu, and its tanh approximation.
    if activation == "gelu":
        result: Array = data * (1 + _erf(data / np.float32(math.sqrt(2)))) / 2
        return result
    inner = np.float32(math.sqrt(2 / math.pi)) * (data + np.float32(0.044715) * data**3)
    result = data * (1 + np.tanh(inner)) / 2
    return result
