"""Text files to masked rows: the data of masked-language-model training.

A row holds several lines, each framed by [CLS] and [SEP]. The batch's attention mask is block diagonal and its positions
restart at each [CLS], so a line sees only itself, as in serving, and no computation is spent on padding.
"""

from __future__ import annotations

import gzip
import lzma
import random
import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from tqdm import tqdm

from finetune.errors import FinetuneError
from serving.model.tokenizer import SPECIAL_TOKENS

IGNORED = -100
"""Label of a position that is not predicted: torch.nn.functional.cross_entropy's default ignore_index."""

Rows = npt.NDArray[np.int32]


def read_lines(files: Sequence[Path]) -> Iterator[str]:
    """Yield the non-empty lines of UTF-8 text files; `.gz` and `.xz` are decompressed.

    Raises FinetuneError for a file that is missing, not compressed as its name says, or not UTF-8.
    """
    openers = {".gz": gzip.open, ".xz": lzma.open}
    for path in files:
        try:
            # Bytes that are not UTF-8 come through as lone surrogates, so that the error can name their line.
            with openers.get(path.suffix, open)(path, "rt", encoding="utf-8-sig", errors="surrogateescape") as lines:
                for number, line in enumerate(lines, 1):
                    if not line.isascii():
                        _check_utf8(path, number, line)
                    if stripped := line.strip():
                        yield stripped
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as exc:
            raise FinetuneError(f"{path}: expected a readable text file, found: {exc}") from exc


def _check_utf8(path: Path, number: int, line: str) -> None:
    try:
        line.encode()
    except UnicodeEncodeError as exc:
        byte = ord(line[exc.start]) - 0xDC00
        raise FinetuneError(
            f"{path}, line {number}: expected UTF-8 text, found the byte 0x{byte:02x}; convert the file first, "
            "for instance with iconv -f latin1 -t utf-8"
        ) from exc


def is_held_out(line: str, one_in: int) -> bool:
    """True if a line belongs to the held-out text: one line in `one_in`, chosen by its content.

    The choice depends on the content, not on the position, so a line that occurs twice, in two files, or in a later run over
    the same text is always on the same side.
    """
    return zlib.crc32(line.encode()) % one_in == 0


def encode(tokenizer: Tokenizer, lines: Sequence[str], length: int, min_tokens: int = 8) -> list[array[int]]:
    """Turn lines into framed token sequences of at most `length`; a longer line becomes several.

    Sequences of fewer than `min_tokens` are dropped: they have no context to predict a word from. A sequence is an
    array of 32-bit integers: a tenth of the memory of a list, which decides how large a text fits.
    """
    cls_id, sep_id = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    sequences: list[array[int]] = []
    for start in tqdm(range(0, len(lines), 4096), desc="tokenize", unit="batch", leave=False, disable=None):
        for encoding in tokenizer.encode_batch_fast(lines[start : start + 4096], add_special_tokens=False):
            ids = encoding.ids
            for cut in range(0, len(ids), length - 2):
                piece = ids[cut : cut + length - 2]
                if len(piece) + 2 >= min_tokens:
                    sequences.append(array("i", (cls_id, *piece, sep_id)))
    return sequences


def without_seen(held_out: Sequence[array[int]], train: Sequence[array[int]]) -> list[array[int]]:
    """Return the held-out sequences that training never sees, each once.

    Different lines can have the same tokens, such as "Yes, please" and "yes , please" with an uncased tokenizer.
    """
    unseen = {sequence.tobytes(): sequence for sequence in held_out}
    for sequence in train:
        unseen.pop(sequence.tobytes(), None)
    return list(unseen.values())


def pack(sequences: Sequence[Sequence[int]], length: int, pad_id: int, seed: int) -> Rows:
    """Best-fit packing of sequences into rows of `length`; returns int32 [rows, length], padded with `pad_id`.

    No sequence may be longer than `length`; `encode` has cut them.
    """
    order = list(range(len(sequences)))
    random.Random(seed).shuffle(order)
    rows: list[array[int]] = []
    by_space: dict[int, list[int]] = defaultdict(list)  # free positions -> rows that have so many
    for index in order:
        sequence = sequences[index]
        space = next((n for n in range(len(sequence), length) if by_space[n]), None)
        if space is None:
            rows.append(array("i", sequence))
            row, space = len(rows) - 1, length
        else:
            row = by_space[space].pop()
            rows[row].extend(sequence)
        by_space[space - len(sequence)].append(row)
    packed = np.full((len(rows), length), pad_id, np.int32)
    for filled, ids in zip(packed, rows, strict=True):
        filled[: len(ids)] = ids
    return packed


@dataclass(frozen=True)
class Masking:
    """The proportions of masked words; the defaults are BERT's (Devlin et al., 2019, section 3.1)."""

    probability: float = 0.15
    replaced_by_mask: float = 0.8
    replaced_by_random: float = 0.1
    whole_words: bool = False


class MaskingCollator:
    """Collates packed rows into a training batch, masking anew each time a row is seen.

    A row that already carries `labels` (held-out rows, masked once so that losses compare) keeps them.
    """

    def __init__(self, tokenizer: Tokenizer, masking: Masking, seed: int) -> None:
        """Read the special tokens and the word pieces of the tokenizer."""
        vocabulary = tokenizer.get_vocab()
        self.pad_id, self.cls_id, self.mask_id = (vocabulary[token] for token in ("[PAD]", "[CLS]", "[MASK]"))
        special = {vocabulary[token] for token in SPECIAL_TOKENS}
        special |= {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        self.special_ids = torch.tensor(sorted(special))
        self.ordinary_ids = torch.tensor(sorted(set(vocabulary.values()) - special))
        self.continues_word = torch.zeros(max(vocabulary.values()) + 1, dtype=torch.bool)
        self.continues_word[[i for token, i in vocabulary.items() if token.startswith("##")]] = True
        if masking.whole_words and not self.continues_word.any():
            raise FinetuneError(
                "--whole-words: expected a WordPiece vocabulary that marks the inside of a word with ##, found no such "
                "token; leave --whole-words out"
            )
        self.masking = masking
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids, labels, position_ids [rows, length] and a bool attention_mask [rows, 1, length, length]."""
        ids = torch.stack([torch.as_tensor(item["input_ids"], dtype=torch.long) for item in items])
        batch = self._frame(ids)
        if "labels" in items[0]:
            labels = torch.stack([torch.as_tensor(item["labels"], dtype=torch.long) for item in items])
            return {"input_ids": ids, "labels": labels, **batch}
        masked, labels = self.mask(ids)
        return {"input_ids": masked, "labels": labels, **batch}

    def _frame(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        # Padding after the last line belongs to that line's segment, and must not be seen by it: segment -1.
        starts = ids == self.cls_id
        segment = torch.where(ids == self.pad_id, -1, starts.cumsum(1))
        index = torch.arange(ids.shape[1]).expand_as(ids)
        positions = index - torch.where(starts, index, 0).cummax(1).values
        return {"position_ids": positions, "attention_mask": (segment[:, None, :, None] == segment[:, None, None, :])}

    def mask(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows with words hidden, and the labels: the hidden token's id, IGNORED elsewhere."""
        ordinary = ~torch.isin(ids, self.special_ids)
        chosen = self._draw(ids.shape) < self.masking.probability
        if self.masking.whole_words:
            # The n-th word of a row takes the n-th random number, so all pieces of a word share it.
            starts_word = ~self.continues_word[ids]
            chosen = chosen.gather(1, starts_word.cumsum(1) - starts_word[:, :1].long())
        chosen &= ordinary
        labels = torch.where(chosen, ids, IGNORED)
        fate = self._draw(ids.shape)
        random_ids = self.ordinary_ids[torch.randint(len(self.ordinary_ids), ids.shape, generator=self.generator)]
        by_mask = chosen & (fate < self.masking.replaced_by_mask)
        by_random = chosen & ~by_mask & (fate < self.masking.replaced_by_mask + self.masking.replaced_by_random)
        return torch.where(by_mask, self.mask_id, torch.where(by_random, random_ids, ids)), labels

    def _draw(self, shape: torch.Size) -> torch.Tensor:
        return torch.rand(shape, generator=self.generator)


def masked_once(rows: Rows, collator: MaskingCollator) -> list[dict[str, torch.Tensor]]:
    """Mask rows once, as a held-out set whose loss is comparable between evaluations."""
    masked, labels = collator.mask(torch.as_tensor(rows, dtype=torch.long))
    return [{"input_ids": m, "labels": y} for m, y in zip(masked, labels, strict=True)]
