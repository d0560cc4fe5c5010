"""BERT in plain numpy: slow and short, the reference that compiled models are checked against.

`encode` turns a row's token ids into hidden states. `head` turns hidden states into a task's logits, at the tokens that
the task's head reads (serving.tasks.HeadFacts).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serving.model.checkpoint import WORD_EMBEDDINGS, Array, Checkpoint
from serving.tasks import TASKS

_erf = np.vectorize(math.erf, otypes=[np.float32])


def encode(checkpoint: Checkpoint, ids: npt.NDArray[np.int64], segments: Sequence[int] = ()) -> Array:
    """Return the last hidden states, float32 [tokens, hidden], of one unpadded row of token ids [tokens].

    `segments` are the token types [tokens]; empty if all are 0.
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
    """Return the task's logits for the hidden states [M, hidden] of M tokens.

    float32 [M, vocabulary] for masks, [M, labels] for the first tokens of M rows, [M, 2] (start, end) for every token.
    """
    facts = TASKS[checkpoint.task].head
    result: Array = features(checkpoint, hidden) @ checkpoint.weights[facts.weight].T + checkpoint.weights[facts.bias]
    return result


def features(checkpoint: Checkpoint, hidden: Array) -> Array:
    """Return the input of the task's last layer, float32 [M, hidden]."""
    config, facts = checkpoint.config, TASKS[checkpoint.task].head
    if not facts.dense:
        return hidden
    inner = _linear(checkpoint, facts.dense, hidden)
    if facts.norm:
        return _norm(checkpoint, facts.norm, _activate(inner, config.activation))
    result: Array = np.tanh(inner) if config.pooler_activation == "tanh" else np.maximum(inner, 0)
    return result


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
