"""What every system is given: one mask a row, the same texts and the same token ids."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SENTENCES = Path(__file__).with_name("sentences.txt")
GRID = ((1, 12), (1, 128), (8, 32), (32, 32), (8, 128), (1, 512))
RAGGED = "ragged"
MASK = "[MASK]"
SEED = 17


@dataclass(frozen=True)
class Batch:
    """Rows that are asked together: texts, their framed token ids, and the index of each row's one mask."""

    texts: list[str]
    ids: list[list[int]]
    masks: list[int]

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(map(len, self.ids))

    @property
    def tokens(self) -> int:
        """Tokens of all rows, without padding."""
        return sum(map(len, self.ids))

    def to_json(self) -> dict[str, Any]:
        """Return what `Batch(**...)` takes."""
        return asdict(self)

    def chosen(self, rows: Sequence[int]) -> Batch:
        """Return some of its rows."""
        return Batch(*([values[row] for row in rows] for values in (self.texts, self.ids, self.masks)))


def point_name(rows: int, tokens: int) -> str:
    """Return the name of a grid point: 8 rows of 32 tokens -> `8x32`."""
    return f"{rows}x{tokens}"


def sentences() -> list[str]:
    """Return the 32 sentences, of 5 to 69 words, one mask each; they were written for this benchmark."""
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
    """Return texts that become so many tokens each, framed: words that are one token, and a mask at a random place."""
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
    """Return the batch of each grid point by its name, and the ragged one."""
    found = {}
    for rows, tokens in grid:
        batch = encode(tokenizer, texts_of_length(tokenizer, rows, tokens))
        assert {len(row) for row in batch.ids} == {tokens}, "a word of the vocabulary is not one token"
        found[point_name(rows, tokens)] = batch
    return found | {RAGGED: encode(tokenizer, sentences())}


def calibration(tokenizer: Any, size: int = 128) -> list[Batch]:  # noqa: ANN401
    """Return single rows to calibrate static quantization on: the sentences, with the mask moved to other words."""
    draw = random.Random(SEED)
    rows = []
    texts = sentences()
    for index in range(size):
        words = texts[index % len(texts)].replace(MASK, "one").split()
        words[draw.randrange(len(words))] = MASK
        rows.append(encode(tokenizer, [" ".join(words)]))
    return rows
