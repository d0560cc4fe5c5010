"""Tiny models whose every number follows from a seed: the same bytes on each machine and with each library's version.

Python's own generator promises its numbers from version to version, where those of numpy and torch may change.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from serving.tasks import Task

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] the a cat dog bird mouse sat slept on under mat roof chair garden and looked at moon "
    "who what where was is it red warm cold number 1 2 3 4 5 6 7 8 9 0 ##0 ##1 ##2 ##3 ##4 ##5 ##6 ##7 ##8 ##9 ##s ##ed . ? ! ,"
).split()
WIDTH, LAYERS, HEADS, INNER, POSITIONS = 32, 2, 4, 64, 48
SPREAD = 0.3
"""Standard deviation of the weights: with BERT's 0.02, every text would get the same answer."""

ARCHITECTURES: dict[Task, str] = {
    "text-classification": "BertForSequenceClassification",
    "question-answering": "BertForQuestionAnswering",
}
LABELS = ("bad", "so-so", "good")


def write(folder: Path, task: Task) -> Path:
    """Write a classifier or a question answerer into a folder, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": [ARCHITECTURES[task]],
        "model_type": "bert",
        "vocab_size": len(WORDS),
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    }
    if task == "text-classification":
        config["id2label"] = {str(index): label for index, label in enumerate(LABELS)}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    _tokenizer().save(str(folder / "tokenizer.json"))
    save_file(_weights(task), folder / "model.safetensors")
    return folder


def _tokenizer() -> Tokenizer:
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    tokenizer.add_special_tokens(list(WORDS[:5]))
    return tokenizer


def _weights(task: Task) -> dict[str, npt.NDArray[np.float32]]:
    draw = random.Random(17)

    def spread(*shape: int) -> npt.NDArray[np.float32]:
        numbers = [SPREAD * math.sqrt(12) * (draw.random() - 0.5) for _ in range(math.prod(shape))]
        return np.array(numbers, np.float32).reshape(shape)

    weights = {
        "bert.embeddings.word_embeddings.weight": spread(len(WORDS), WIDTH),
        "bert.embeddings.position_embeddings.weight": spread(POSITIONS, WIDTH),
        "bert.embeddings.token_type_embeddings.weight": spread(2, WIDTH),
    }

    def linear(name: str, inputs: int, outputs: int) -> None:
        weights[f"{name}.weight"], weights[f"{name}.bias"] = spread(outputs, inputs), spread(outputs)

    def norm(name: str) -> None:
        weights[f"{name}.weight"], weights[f"{name}.bias"] = 1 + spread(WIDTH), spread(WIDTH)

    norm("bert.embeddings.LayerNorm")
    for index in range(LAYERS):
        layer = f"bert.encoder.layer.{index}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{layer}.attention.{part}", WIDTH, WIDTH)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", WIDTH, INNER)
        linear(f"{layer}.output.dense", INNER, WIDTH)
        norm(f"{layer}.output.LayerNorm")
    if task == "text-classification":
        linear("bert.pooler.dense", WIDTH, WIDTH)
        linear("classifier", WIDTH, len(LABELS))
    else:
        linear("qa_outputs", WIDTH, 2)
    return weights
