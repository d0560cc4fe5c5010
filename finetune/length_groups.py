"""The order of training rows: shuffled, with rows of about the same length in a batch, so that little is padding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

BATCHES_SORTED_TOGETHER = 50
"""More leave less padding, and more of a batch to be chosen by length; 50 are what transformers takes."""


class LengthGroups(Sampler[int]):
    """Yields all rows, a batch's after one another, another order each epoch; the same in every process.

    transformers' LengthGroupedSampler takes the order from torch's global generator, which a run resumed within an epoch
    has in another state, and goes from long to short, so that the last steps before each turn see short texts alone.
    Here the order depends on the seed and the epoch alone, and whole batches are shuffled.
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
    """Tells the order which epoch it is, after a resume too: the loader forgets to where batches are skipped."""

    def __init__(self, order: LengthGroups) -> None:
        """Take the order."""
        self.order = order

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Take the epoch from the steps that were done."""
        self.order.epoch = int(state.epoch or 0)
