"""Text to token ids, for masked-language models and for models that read a text or a pair.

MaskTokenizer finds the masks, and cuts windows around them from long texts. PairTokenizer frames a text or a pair as
[CLS] first [SEP] second [SEP], and cuts it to fit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer

from serving.errors import DeadlineExceeded, ModelFolderError
from serving.requests.call import current_call, tokenizing
from tables.disk import read_regular


@dataclass(frozen=True)
class EncodedText:
    """A text's token ids without frame or cut, and its masks: their token indices and (start, end) characters."""

    ids: list[int]
    masks: list[int]
    spans: list[tuple[int, int]]


@dataclass(frozen=True)
class Passage:
    """One row of the model's input with everything that is asked about it, as several requests share a batch.

    ids: token ids with [CLS] and [SEP]. masks: indices of the masks among them. targets: token ids to score at the masks.
    top_k: words a mask. segments: the token type of each id, 0 or 1; empty if all are 0.
    """

    ids: list[int]
    masks: Sequence[int] = ()
    targets: Sequence[int] = ()
    top_k: int = 1
    segments: Sequence[int] = ()


TOKENIZER_BYTES = 256_000_000
"""The largest tokenizer.json; the file of 250,000 tokens has a tenth of this."""

CHARACTERS_AT_ONCE = 1 << 17
"""Characters of texts that are encoded together; a longer text is encoded alone."""

LONGEST_WORD = 1000
"""Letters of a word that may be split into pieces, which takes the square of its length. BERT's own limit is 100."""

MOST_ADDED = 0
"""Letters that a replacement in a normalizer may add: a few replacements in a row could make terabytes of a line."""

PROBE = "the [MASK] \U0001f389 \u4e2d 1x."
"""A text with characters that a vocabulary may lack: a tokenizer that cannot encode it fails at start, not on a request."""

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def open_tokenizer(path: Path, vocab_size: int) -> Tokenizer:
    """Load a tokenizer.json, with truncation and padding turned off.

    Raises ModelFolderError if the file is not a tokenizer, lacks BERT's special tokens, or has ids beyond config.json's.
    """
    try:
        content = read_regular(path, TOKENIZER_BYTES)
        tokenizer = Tokenizer.from_buffer(content)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        _check_cost(path, tokenizer)
        tokenizer.encode_batch([PROBE, ""], add_special_tokens=False)
    except (KeyboardInterrupt, SystemExit, ModelFolderError):
        raise
    except BaseException as exc:  # tokenizers raises Exception, and its panics are not even that
        raise ModelFolderError(f"{path}: expected a tokenizer of the tokenizers library, found: {exc}") from exc
    vocabulary = tokenizer.get_vocab()
    largest = max(vocabulary.values(), default=0)
    if largest >= vocab_size:
        raise ModelFolderError(
            f"{path}: expected token ids below config.json's vocab_size {vocab_size}, found {largest}; "
            "use the tokenizer that the checkpoint was trained with"
        )
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if missing:
        raise ModelFolderError(f"{path}: expected a BERT vocabulary, found no {', '.join(missing)} in it")
    return tokenizer


def _check_cost(path: Path, tokenizer: Tokenizer) -> None:
    """Raise ModelFolderError for a tokenizer that makes a text much longer, or is slow on long words."""
    normalizer = json.loads(tokenizer.normalizer.__getstate__()) if tokenizer.normalizer else {}
    for part in _parts(normalizer):
        pattern = part.get("pattern", {})
        room = len(pattern.get("String", "x"))  # a regular expression may match a single letter
        added = len(part.get("content", "")) - room if part.get("type") == "Replace" else len(part.get("prepend", ""))
        if added > MOST_ADDED:
            raise ModelFolderError(
                f"{path}: expected a normalizer that adds no text, found a part that adds {added} letters"
            )
    longest = getattr(tokenizer.model, "max_input_chars_per_word", 0)
    if longest > LONGEST_WORD:
        found = f"expected max_input_chars_per_word of at most {LONGEST_WORD}, found {longest}"
        raise ModelFolderError(f"{path}: {found}; BERT's own is 100")


def _parts(normalizer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield normalizer
    for part in normalizer.get("normalizers", []):
        yield from _parts(part)


def encodings(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[Encoding]:
    """Yield the encoding of each text, without a frame; a few texts at a time are in memory, as a token takes 500 bytes.

    Raises DeadlineExceeded if the deadline of the thread's call (serving.requests.call) passes.
    """
    deadline = current_call().deadline
    together: list[str] = []
    characters = 0
    for index, text in enumerate(texts, 1):
        together.append(text)
        characters += len(text)
        if characters >= CHARACTERS_AT_ONCE or index == len(texts):
            if time.monotonic() >= deadline:
                raise DeadlineExceeded
            yield from tokenizer.encode_batch(together, add_special_tokens=False)
            together, characters = [], 0


class MaskTokenizer:
    """A checkpoint's tokenizer; its own truncation and padding are turned off."""

    def __init__(self, path: Path, vocab_size: int, max_positions: int) -> None:
        """Load a tokenizer.json; raises ModelFolderError if it is not a tokenizer of this model."""
        self._tokenizer = open_tokenizer(path, vocab_size)
        vocabulary = self._tokenizer.get_vocab()
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = map(vocabulary.__getitem__, SPECIAL_TOKENS)
        self.mask_token = "[MASK]"  # noqa: S105 - not a password
        self.window = max_positions - 2

    @tokenizing()
    def encode(self, texts: Sequence[str]) -> list[EncodedText]:
        """Encode texts and find their masks."""
        encoded = []
        for encoding in encodings(self._tokenizer, texts):
            masks = [index for index, token_id in enumerate(encoding.ids) if token_id == self.mask_id]
            offsets = encoding.offsets  # a new list at each access
            encoded.append(EncodedText(encoding.ids, masks, [offsets[index] for index in masks]))
        return encoded

    def pieces(self, word: str) -> list[int] | None:
        """Return a word's token id if the vocabulary has it, else its pieces' ids; None if it cannot be spelled."""
        whole = self._tokenizer.token_to_id(word)
        ids = [whole] if whole is not None else self._tokenizer.encode(word, add_special_tokens=False).ids
        return None if not ids or self.unk_id in ids else ids

    def token(self, token_id: int) -> str:
        """Return the vocabulary's entry, such as `capital` or `##ing`."""
        return self._tokenizer.id_to_token(token_id) or ""

    def normalize(self, text: str) -> str:
        """Return a text as the vocabulary sees it: lower-cased and without accents for an uncased model."""
        normalizer = self._tokenizer.normalizer
        return normalizer.normalize_str(text) if normalizer else text

    def passages(self, ids: list[int], masks: list[int], targets: Sequence[int] = (), top_k: int = 1) -> list[Passage]:
        """Frame a text as one passage, or as windows around its masks if it is longer than the model.

        Each mask is in exactly one window, and the windows are in the order of the masks. Masks share a window if they span
        at most half of it, so that each mask has a quarter of the window, or the rest of the text, on either side.
        """
        if len(ids) <= self.window:
            return [self._frame(ids, 0, masks, targets, top_k)]
        groups: list[list[int]] = []
        for mask in masks:
            if groups and mask - groups[-1][0] <= self.window // 2:
                groups[-1].append(mask)
            else:
                groups.append([mask])
        passages = []
        for group in groups:
            middle = (group[0] + group[-1] + 1) // 2
            start = min(max(0, middle - self.window // 2), len(ids) - self.window)
            passages.append(self._frame(ids[start : start + self.window], start, group, targets, top_k))
        return passages

    def spelled(self, ids: list[int], mask: int, pieces: Sequence[int], piece: int) -> Passage:
        """Return the passage that scores one piece of a word: the pieces before it are filled in, those after it masked."""
        word = [*pieces[:piece], *[self.mask_id] * (len(pieces) - piece)]
        # Only the part of a long text that a window can reach, as there is a passage for each piece at each mask.
        before, after = ids[max(0, mask - self.window) : mask], ids[mask + 1 : mask + 1 + self.window]
        return self.passages([*before, *word, *after], [len(before) + piece], [pieces[piece]])[0]

    def _frame(self, ids: list[int], start: int, masks: list[int], targets: Sequence[int], top_k: int) -> Passage:
        return Passage([self.cls_id, *ids, self.sep_id], [mask - start + 1 for mask in masks], targets, top_k)


@dataclass(frozen=True)
class Tokens:
    """A text's token ids without frame or cut, with each token's (start, end) characters and the number of its word."""

    ids: list[int]
    spans: list[tuple[int, int]]
    words: list[int | None]


class PairTokenizer:
    """A checkpoint's tokenizer; its own truncation and padding are turned off."""

    def __init__(self, path: Path, vocab_size: int, max_positions: int) -> None:
        """Load a tokenizer.json; raises ModelFolderError if it is not a tokenizer of this model."""
        self._tokenizer = open_tokenizer(path, vocab_size)
        vocabulary = self._tokenizer.get_vocab()
        self.pad_id, _, self.cls_id, self.sep_id, _ = map(vocabulary.__getitem__, SPECIAL_TOKENS)
        self.max_length = max_positions

    @tokenizing()
    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Encode texts, with the places of their tokens."""
        return [
            Tokens(encoding.ids, encoding.offsets, encoding.word_ids) for encoding in encodings(self._tokenizer, texts)
        ]

    @tokenizing()
    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode texts without the places of their tokens, which take several times the memory of the ids."""
        return [encoding.ids for encoding in encodings(self._tokenizer, texts)]

    def frame(self, first: Sequence[int], second: Sequence[int] | None = None) -> Passage:
        """Return [CLS] first [SEP], or [CLS] first [SEP] second [SEP] with the second's segment 1."""
        ids = [self.cls_id, *first, self.sep_id]
        if second is None:
            return Passage(ids)
        segments = [0] * len(ids) + [1] * (len(second) + 1)
        return Passage([*ids, *second, self.sep_id], segments=segments)

    def fitted(self, first: Sequence[int], second: Sequence[int] | None = None) -> tuple[Passage, bool]:
        """Frame a text or a pair, cut to the model's length; return the passage and whether it was cut.

        A pair is cut as by transformers' truncation=True: the longer text down to the length of the shorter, then both
        alike, and the longer keeps the odd token. An empty second text is ignored, as by transformers.
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
