"""Rows with class labels to tokens, cut and framed as `score.py` does it for the trained model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from finetune.errors import FinetuneError
from finetune.prepare.prepared import Settings
from finetune.train.rows import TokenRows
from serving.errors import ModelFolderError
from serving.model.tokenizer import PairTokenizer


def batches(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows, so many at once."""
    remaining = iter(rows)
    while batch := list(islice(remaining, size)):
        yield batch


def open_tokenizer(model: Path, config: PreTrainedConfig, settings: Settings) -> PairTokenizer:
    """Return the base model's tokenizer, cutting at the length that the settings ask for; raises FinetuneError."""
    longest = config.max_position_embeddings
    wanted = settings.features.max_seq_length
    if wanted > longest:
        raise FinetuneError(
            f"max_seq_length: expected at most the model's {longest} positions, found {wanted}; give {longest}, or -1"
        )
    if wanted == -1:
        wanted = min(settings.tuning.default_length or longest, longest)
    if wanted < 4:
        raise FinetuneError(f"max_seq_length: expected 4 or more ([CLS], a token, [SEP] twice), found {wanted}")
    try:
        return PairTokenizer(model / "tokenizer.json", config.vocab_size, wanted)
    except ModelFolderError as exc:
        raise FinetuneError(f"{exc}; prepare the data again with a base model that is whole") from exc


def classification_rows(
    rows: Iterable[dict[str, Any]], tokenizer: PairTokenizer, labels: Sequence[str], batch_size: int
) -> TokenRows:
    """Return the rows' tokens; raises FinetuneError for a label that is not in `labels`."""
    ids: Mapping[str, int] = {label: index for index, label in enumerate(labels)}
    found = TokenRows(["labels"])
    for batch in batches(rows, batch_size):
        first = tokenizer.encode([row["text"] for row in batch])
        second = tokenizer.encode([row.get("text_pair") or "" for row in batch])
        for row, one, two in zip(batch, first, second, strict=True):
            if row["label"] not in ids:
                raise FinetuneError(
                    f"row {len(found) + 1}: expected a label of settings.json, found {row['label']!r}; prepare the data "
                    "again"
                )
            found.add(tokenizer.fitted(one.ids, two.ids)[0], ids[row["label"]])
    return found
