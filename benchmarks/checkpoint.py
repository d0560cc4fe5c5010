"""A checkpoint shaped as bert-base-cased with random weights: made here from a seed, so that nothing is downloaded.

The time of a forward pass does not depend on what the weights say. They are drawn with the spread of trained ones, so
that quantization meets realistic ranges and two engines that differ only by rounding agree on the best token.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

BASE = {
    "architectures": ["BertForMaskedLM"],
    "model_type": "bert",
    "vocab_size": 28996,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "tie_word_embeddings": True,
}
SEED = 17
SPREAD = 0.04
"""Standard deviation of the weights; about what bert-base-cased's matrices have."""


def random_base(cache: Path, tokenizer_of: Path) -> Path:
    """Return a folder with the checkpoint, made on the first call; about 430 MB.

    Its tokenizer is that of the folder `tokenizer_of`, cut to the first 28,996 entries of its vocabulary.
    """
    folder = cache / f"bert-base-random-{SEED}"
    if (folder / "model.safetensors").is_file():
        return folder
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(BASE, indent=1), encoding="utf-8")
    described = json.loads((tokenizer_of / "tokenizer.json").read_text(encoding="utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps(cut(described, BASE["vocab_size"])), encoding="utf-8")
    shutil.copy(tokenizer_of / "tokenizer_config.json", folder)
    partial = folder / "model.safetensors.partial"
    save_file(weights(BASE), partial, metadata={"format": "pt"})
    partial.replace(folder / "model.safetensors")
    return folder


def cut(tokenizer: dict[str, Any], size: int) -> dict[str, Any]:
    """Return a tokenizer.json with the first `size` ids of its vocabulary only.

    >>> cut({"model": {"vocab": {"a": 0, "b": 1, "c": 2}}}, 2)
    {'model': {'vocab': {'a': 0, 'b': 1}}}
    """
    vocabulary = {token: index for token, index in tokenizer["model"]["vocab"].items() if index < size}
    return {**tokenizer, "model": {**tokenizer["model"], "vocab": vocabulary}}


def weights(config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return random weights by Hugging Face's names; the decoder is tied to the embeddings and so left out."""
    draw = np.random.default_rng(SEED)
    found = {}
    for name, shape in shapes(config).items():
        array = draw.standard_normal(shape, np.float32) * np.float32(SPREAD)
        found[name] = array + np.float32(name.endswith("LayerNorm.weight"))
    return found


def shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight of a BERT masked-language model with a tied decoder."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    found: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (config["vocab_size"], hidden),
        "bert.embeddings.position_embeddings.weight": (config["max_position_embeddings"], hidden),
        "bert.embeddings.token_type_embeddings.weight": (config["type_vocab_size"], hidden),
    }
    linear = {"cls.predictions.transform.dense": (hidden, hidden)}
    norms = ["bert.embeddings.LayerNorm", "cls.predictions.transform.LayerNorm"]
    for index in range(config["num_hidden_layers"]):
        layer = f"bert.encoder.layer.{index}."
        linear |= {f"{layer}attention.self.{part}": (hidden, hidden) for part in ("query", "key", "value")}
        linear |= {f"{layer}attention.output.dense": (hidden, hidden)}
        linear |= {f"{layer}intermediate.dense": (inner, hidden), f"{layer}output.dense": (hidden, inner)}
        norms += [f"{layer}attention.output.LayerNorm", f"{layer}output.LayerNorm"]
    for name, shape in linear.items():
        found |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        found |= {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}
    return found | {"cls.predictions.bias": (config["vocab_size"],)}
