"""Tiny checkpoints of each task with random weights, made without torch: a process that is attacked starts in a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from serving.model.checkpoint import BertConfig, expected_shapes
from serving.tasks import Labels, Task

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = (
    "the cat dog sat on warm mat roof and looked at moon who where is a . ? , a b c d e i o s t ##a ##e ##s ##t 1 2 ##3"
)
ARCHITECTURES: dict[Task, str] = {
    "fill-mask": "BertForMaskedLM",
    "text-classification": "BertForSequenceClassification",
    "question-answering": "BertForQuestionAnswering",
}
LABELS = {"0": "bad", "1": "so-so", "2": "good"}


def config_of(task: Task, vocab_size: int) -> dict[str, Any]:
    """Return a config.json."""
    return {
        "architectures": [ARCHITECTURES[task]],
        "model_type": "bert",
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 48,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
        "id2label": LABELS,
    }


def write_checkpoint(folder: Path, task: Task) -> Path:
    """Write config.json, model.safetensors and tokenizer.json into a new folder, and return it."""
    folder.mkdir(parents=True)
    tokens = dict.fromkeys([*SPECIAL, *WORDS.split()])
    tokenizer = Tokenizer(models.WordPiece({token: n for n, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = config_of(task, tokenizer.get_vocab_size())
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    draw = np.random.default_rng(17)
    shapes = expected_shapes(BertConfig.from_json(config), task, Labels.from_json(config))
    save_file(
        {name: draw.normal(scale=0.3, size=shape).astype(np.float32) for name, shape in shapes.items()},
        folder / "model.safetensors",
    )
    return folder
