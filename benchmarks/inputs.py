"""The inputs of every system: texts with one mask, their token ids, and a checkpoint in the shape of bert-base-cased.

The checkpoint has random weights from a seed, so that nothing is downloaded. The time of a forward pass does not depend
on the weights' values. They have the spread of trained weights, so that quantization meets realistic ranges and two
engines that differ only by rounding agree on the best token.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

SENTENCES = Path(__file__).with_name("sentences.txt")
GRID = ((1, 12), (1, 128), (8, 32), (32, 32), (8, 128), (1, 512))
RAGGED = "ragged"
MASK = "[MASK]"
SEED = 17


@dataclass(frozen=True)
class Batch:
    """Rows of one call: texts, their framed token ids, and the index of the mask of each row."""

    texts: list[str]
    ids: list[list[int]]
    masks: list[int]

    @property
    def longest(self) -> int:
        """The number of tokens of the longest row."""
        return max(map(len, self.ids))

    @property
    def tokens(self) -> int:
        """The number of tokens of all rows, without padding."""
        return sum(map(len, self.ids))

    def to_json(self) -> dict[str, Any]:
        """Return the arguments of `Batch(**...)`."""
        return asdict(self)

    def chosen(self, rows: Sequence[int]) -> Batch:
        """Return some of the rows."""
        return Batch(*([values[row] for row in rows] for values in (self.texts, self.ids, self.masks)))


def point_name(rows: int, tokens: int) -> str:
    """Return the name of a grid point: 8 rows of 32 tokens -> `8x32`."""
    return f"{rows}x{tokens}"


def sentences() -> list[str]:
    """Return the 32 sentences of 5 to 69 words with one mask each, which were written for this benchmark."""
    return SENTENCES.read_text(encoding="utf-8").split("\n")[:-1]


def encode(tokenizer: Any, texts: Sequence[str]) -> Batch:  # noqa: ANN401 - a tokenizers.Tokenizer, not imported here
    """Encode texts with one mask each; raises ValueError for another number of masks."""
    mask = tokenizer.token_to_id(MASK)
    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    for text, row in zip(texts, ids, strict=True):
        if row.count(mask) != 1:
            raise ValueError(f"expected one {MASK} in {text[:60]!r}, found {row.count(mask)}")
    return Batch(list(texts), ids, [row.index(mask) for row in ids])


def texts_of_length(tokenizer: Any, rows: int, tokens: int) -> list[str]:  # noqa: ANN401
    """Return texts of `tokens` framed tokens each: words of one token, and a mask at a random place."""
    vocabulary = tokenizer.get_vocab()
    words = sorted(word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 3)
    draw = random.Random(f"{SEED} {rows} {tokens}")
    texts = []
    for _ in range(rows):
        chosen = draw.choices(words, k=tokens - 2)
        chosen[draw.randrange(len(chosen))] = MASK
        texts.append(" ".join(chosen))
    return texts


def points(tokenizer: Any, grid: Sequence[tuple[int, int]] = GRID) -> dict[str, Batch]:  # noqa: ANN401
    """Return the batch of each grid point by its name, and the ragged batch."""
    batches = {}
    for rows, tokens in grid:
        batch = encode(tokenizer, texts_of_length(tokenizer, rows, tokens))
        assert {len(row) for row in batch.ids} == {tokens}, "a word of the vocabulary is not one token"
        batches[point_name(rows, tokens)] = batch
    return batches | {RAGGED: encode(tokenizer, sentences())}


def calibration(tokenizer: Any, size: int = 128) -> list[Batch]:  # noqa: ANN401
    """Return single rows for the calibration of static quantization: the sentences with the mask at other words."""
    draw = random.Random(SEED)
    rows = []
    texts = sentences()
    for index in range(size):
        words = texts[index % len(texts)].replace(MASK, "one").split()
        words[draw.randrange(len(words))] = MASK
        rows.append(encode(tokenizer, [" ".join(words)]))
    return rows


# The checkpoint

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
SPREAD = 0.04
"""The standard deviation of the weights, about as in bert-base-cased's matrices."""


def random_base(cache: Path, tokenizer_of: Path) -> Path:
    """Return a folder with the checkpoint of about 430 MB, made on the first call.

    Its tokenizer comes from the folder `tokenizer_of`, with the first 28,996 entries of the vocabulary.
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
    """Return a tokenizer.json with only the first `size` ids of its vocabulary.

    >>> cut({"model": {"vocab": {"a": 0, "b": 1, "c": 2}}}, 2)
    {'model': {'vocab': {'a': 0, 'b': 1}}}
    """
    vocabulary = {token: index for token, index in tokenizer["model"]["vocab"].items() if index < size}
    return {**tokenizer, "model": {**tokenizer["model"], "vocab": vocabulary}}


def weights(config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return random weights by Hugging Face's names, without the decoder, which is tied to the embeddings."""
    draw = np.random.default_rng(SEED)
    arrays = {}
    for name, shape in shapes(config).items():
        array = draw.standard_normal(shape, np.float32) * np.float32(SPREAD)
        arrays[name] = array + np.float32(name.endswith("LayerNorm.weight"))
    return arrays


def shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight of a BERT masked-language model with a tied decoder."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    made: dict[str, tuple[int, ...]] = {
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
        made |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        made |= {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}
    return made | {"cls.predictions.bias": (config["vocab_size"],)}
