"""Rows of token ids, many of them in little memory, and the batches that are made of them.

The order of training rows: shuffled, with rows of about the same length in a batch, so that little is padding.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from serving.model.tokenizer import Passage

PAD_TO_MULTIPLE = 8
"""A batch's length is a multiple of this number if tensor cores compute in 16 bits."""


class TokenRows(Dataset[dict[str, Any]]):
    """Rows of token ids, segments and labels, at six bytes a token; Python's lists take forty.

    A row is {"input_ids": int32 [tokens], "token_type_ids": int8 [tokens], and each label by its name: int}.
    """

    def __init__(self, label_names: Sequence[str]) -> None:
        """Begin without rows; `label_names` are "labels", or "start_positions" and "end_positions"."""
        self.label_names = tuple(label_names)
        self._ids = array("i")
        self._second = array("i")
        self._ends = array("q", [0])
        self._labels = {name: array("q") for name in self.label_names}

    def add(self, passage: Passage, *labels: int) -> None:
        """Add a row."""
        self._ids.extend(passage.ids)
        self._second.append(passage.segments.index(1) if passage.segments else len(passage.ids))
        self._ends.append(len(self._ids))
        for name, label in zip(self.label_names, labels, strict=True):
            self._labels[name].append(label)

    def __len__(self) -> int:
        return len(self._second)

    def __getitem__(self, index: int) -> dict[str, Any]:
        start, end = self._ends[index], self._ends[index + 1]
        ids = np.frombuffer(self._ids, np.int32)[start:end]
        segments = (np.arange(len(ids)) >= self._second[index]).astype(np.int8)
        labels = {name: self._labels[name][index] for name in self.label_names}
        return {"input_ids": ids, "token_type_ids": segments, **labels}

    def lengths(self) -> npt.NDArray[np.int64]:
        """Return the tokens of each row."""
        return np.diff(np.frombuffer(self._ends, np.int64))

    def longest_first(self) -> npt.NDArray[np.int64]:
        """Return the rows' indices, longest first: if memory is too small, the first batch shows it."""
        return np.argsort(-self.lengths(), kind="stable")

    def ordered(self, order: Sequence[int] | npt.NDArray[np.integer]) -> TokenRows:
        """Return the rows in another order."""
        other = TokenRows(self.label_names)
        ids = np.frombuffer(self._ids, np.int32)
        for row in order:
            other._ids.frombytes(ids[self._ends[row] : self._ends[row + 1]].tobytes())
            other._ends.append(len(other._ids))
            other._second.append(self._second[row])
            for name in self.label_names:
                other._labels[name].append(self._labels[name][row])
        return other


class Padding:
    """Makes a batch of rows, padded to its longest row, or to `length` if it is set."""

    def __init__(self, pad_id: int, segments: bool, length: int | None = None, multiple: int = 1) -> None:
        """Take the padding token's id, whether the model takes token types, and the unit of a batch's length."""
        self.pad_id = pad_id
        self.segments = segments
        self.length = length
        self.multiple = multiple

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids, attention_mask, token_type_ids [rows, tokens] and the labels [rows]."""
        length = self.length or max(len(row["input_ids"]) for row in rows)
        length = -(-length // self.multiple) * self.multiple
        shape = (len(rows), length)
        batch = {"input_ids": np.full(shape, self.pad_id, np.int64), "attention_mask": np.zeros(shape, np.int64)}
        if self.segments:
            batch["token_type_ids"] = np.zeros(shape, np.int64)
        for index, row in enumerate(rows):
            end = len(row["input_ids"])
            batch["input_ids"][index, :end] = row["input_ids"]
            batch["attention_mask"][index, :end] = 1
            if self.segments:
                batch["token_type_ids"][index, :end] = row["token_type_ids"]
        names = [name for name in rows[0] if name not in ("input_ids", "token_type_ids")]
        labels = {name: np.array([row[name] for row in rows]) for name in names}
        return {name: torch.from_numpy(values) for name, values in {**batch, **labels}.items()}


BATCHES_SORTED_TOGETHER = 50
"""Batches that are sorted by length together. More batches mean less padding and less randomness; transformers uses 50."""


class LengthGroups(Sampler[int]):
    """Yields the indices of all rows, batch after batch, in another order each epoch; the same in every process.

    transformers' LengthGroupedSampler uses torch's global generator, whose state differs after a resume within an epoch, and
    goes from long to short, so that the last steps of an epoch see only short texts. Here the order depends only on the
    seed and the epoch, and whole batches are shuffled.
    """

    def __init__(self, lengths: npt.NDArray[np.int64], batch_size: int, seed: int) -> None:
        """Take each row's length in tokens, the rows of a step over all processes, and the seed."""
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        draw = np.random.default_rng((self.seed, self.epoch))
        order = draw.permutation(len(self.lengths))
        together = self.batch_size * BATCHES_SORTED_TOGETHER
        batches = []
        for start in range(0, len(order), together):
            part = order[start : start + together]
            part = part[np.argsort(-self.lengths[part], kind="stable")]
            batches += [part[first : first + self.batch_size] for first in range(0, len(part), self.batch_size)]
        # A batch that is not full has to be the last: the loader cuts batches by count.
        last = batches.pop() if len(batches[-1]) < self.batch_size else None
        shuffled = [batches[index] for index in draw.permutation(len(batches))]
        for batch in [*shuffled, *([last] if last is not None else [])]:
            yield from batch.tolist()


class EpochOfOrder(TrainerCallback):
    """Sets the epoch of the row order, also after a resume, when the loader skips batches and forgets to set it."""

    def __init__(self, order: LengthGroups) -> None:
        """Take the order."""
        self.order = order

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Take the epoch from the steps that were done."""
        self.order.epoch = int(state.epoch or 0)
