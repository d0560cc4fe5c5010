"""Text to token ids for models that read one text or a pair: framed as [CLS] first [SEP] second [SEP], and cut to fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.call import tokenizing
from serving.tokenizer import SPECIAL_TOKENS, Passage, encodings, open_tokenizer


@dataclass(frozen=True)
class Tokens:
    """A text's token ids, unframed and uncut; for each its (start, end) characters in the text and its word's number."""

    ids: list[int]
    spans: list[tuple[int, int]]
    words: list[int | None]


class PairTokenizer:
    """A checkpoint's tokenizer, with its truncation and padding off: both are decided here."""

    def __init__(self, path: Path, vocab_size: int, max_positions: int) -> None:
        """Load a tokenizer.json; raises ModelFolderError where it is not one, or not of this model."""
        self._tokenizer = open_tokenizer(path, vocab_size)
        vocabulary = self._tokenizer.get_vocab()
        self.pad_id, _, self.cls_id, self.sep_id, _ = map(vocabulary.__getitem__, SPECIAL_TOKENS)
        self.max_length = max_positions

    @tokenizing()
    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Encode texts."""
        found = encodings(self._tokenizer, texts)
        return [Tokens(encoding.ids, encoding.offsets, encoding.word_ids) for encoding in found]

    @tokenizing()
    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode texts where their tokens' places are not asked for: those take several times the memory of the ids."""
        return [encoding.ids for encoding in encodings(self._tokenizer, texts)]

    def frame(self, first: Sequence[int], second: Sequence[int] | None = None) -> Passage:
        """Return [CLS] first [SEP], or [CLS] first [SEP] second [SEP] with the second's segment 1."""
        ids = [self.cls_id, *first, self.sep_id]
        if second is None:
            return Passage(ids)
        segments = [0] * len(ids) + [1] * (len(second) + 1)
        return Passage([*ids, *second, self.sep_id], segments=segments)

    def fitted(self, first: Sequence[int], second: Sequence[int] | None = None) -> tuple[Passage, bool]:
        """Frame a text or a pair, its end cut off where it is longer than the model; tell whether it was.

        A pair is cut as transformers' truncation=True cuts it: the longer text down to the shorter one's length, then
        both alike, the longer keeping the odd token. An empty second text is none, as there.
        """
        if not second:
            room = self.max_length - 2
            return self.frame(first[:room]), len(first) > room
        room = self.max_length - 3
        keep = _shares(len(first), len(second), room)
        return self.frame(first[: keep[0]], second[: keep[1]]), len(first) + len(second) > room


def _shares(first: int, second: int, room: int) -> tuple[int, int]:
    if first + second <= room:
        return first, second
    shorter = min(first, second)
    if shorter + shorter <= room:
        return (shorter, room - shorter) if first <= second else (room - shorter, shorter)
    half = room // 2
    return (half, room - half) if first <= second else (room - half, half)
