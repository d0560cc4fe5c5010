"""Rows to tokens, tokens to batches, and their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from finetune.errors import FinetuneError
from finetune.train.features import classification_rows
from finetune.train.rows import LengthGroups, Padding, TokenRows
from serving.model.tokenizer import PairTokenizer

PAIRS = [
    {"text": "The cat sat.", "text_pair": "The dog sat on the warm mat and looked at the moon.", "label": "a"},
    {"text": "The bird looked at the moon on the cold roof and sat.", "text_pair": "A mat.", "label": "b"},
    {"text": "The mouse sat on the mat.", "text_pair": "The cat sat on the mat.", "label": "a"},
]


def pair_tokenizer(checkpoint: Path, length: int) -> PairTokenizer:
    return PairTokenizer(checkpoint / "tokenizer.json", 200, length)


@pytest.mark.parametrize("length", [8, 16, 32])
def test_pairs_are_cut_as_transformers_cuts_them(checkpoint: Path, length: int) -> None:
    found = classification_rows(PAIRS, pair_tokenizer(checkpoint, length), ["a", "b"], 2)
    theirs = AutoTokenizer.from_pretrained(checkpoint)(
        [row["text"] for row in PAIRS],
        [row["text_pair"] for row in PAIRS],
        truncation="longest_first",
        max_length=length,
        return_token_type_ids=True,
    )
    rows = [found[index] for index in range(len(found))]
    assert [row["input_ids"].tolist() for row in rows] == theirs.input_ids
    assert [row["token_type_ids"].tolist() for row in rows] == theirs.token_type_ids
    assert [row["labels"] for row in rows] == [0, 1, 0]


def test_a_batch_is_that_of_transformers(checkpoint: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    found = classification_rows(PAIRS, pair_tokenizer(checkpoint, 32), ["a", "b"], 1000)
    batch = Padding(tokenizer.pad_token_id, segments=True)([found[index] for index in range(3)])
    texts, pairs = ([row[name] for row in PAIRS] for name in ("text", "text_pair"))
    theirs = tokenizer(texts, pairs, return_tensors="pt", padding=True, truncation=True, max_length=32)
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids", "labels"}
    for name in ("input_ids", "attention_mask"):
        assert torch.equal(batch[name], theirs[name])
    assert batch["labels"].tolist() == [0, 1, 0]


def test_a_batch_is_as_long_as_is_asked(checkpoint: Path) -> None:
    found = classification_rows(PAIRS, pair_tokenizer(checkpoint, 30), ["a", "b"], 1000)
    rows = [found[index] for index in range(3)]
    longest = int(found.lengths().max())
    assert Padding(0, False)(rows)["input_ids"].shape == (3, longest)
    assert Padding(0, False, multiple=8)(rows)["input_ids"].shape == (3, -(-longest // 8) * 8)
    assert Padding(0, False, length=30)(rows)["input_ids"].shape == (3, 30)
    assert "token_type_ids" not in Padding(0, False)(rows)


def test_a_label_that_is_none_is_refused(checkpoint: Path) -> None:
    with pytest.raises(FinetuneError, match="row 2: expected a label of settings.json, found 'b'"):
        classification_rows(PAIRS, pair_tokenizer(checkpoint, 32), ["a"], 1000)


def test_rows_take_little_memory_and_keep_their_order() -> None:
    rows = TokenRows(["labels"])
    from serving.model.tokenizer import Passage

    for length in (3, 9, 5):
        rows.add(Passage([2, *range(10, 8 + length), 3]), length)
    ordered = rows.ordered(rows.longest_first())
    assert [ordered[index]["labels"] for index in range(3)] == [9, 5, 3]
    assert ordered.lengths().tolist() == [9, 5, 3]


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=400), batch=st.integers(1, 16), epoch=st.integers(0, 3)
)
def test_an_epoch_has_each_row_once_and_repeats_by_its_number(lengths: list[int], batch: int, epoch: int) -> None:
    orders = []
    for _ in range(2):
        order = LengthGroups(np.array(lengths), batch, seed=7)
        list(order)  # another epoch drawn before leaves no trace
        order.epoch = epoch
        orders.append(list(order))
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == list(range(len(lengths)))


def test_batches_are_of_a_length_and_in_no_order_of_it() -> None:
    lengths = np.random.default_rng(0).integers(5, 100, 3200)
    order = LengthGroups(lengths, 16, seed=7)
    batches = lengths[list(order)].reshape(-1, 16)
    padded = (batches.max(axis=1)[:, None] - batches).sum() / batches.sum()
    assert padded < 0.05
    longest = batches.max(axis=1)
    assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.2
    order.epoch = 1
    assert not np.array_equal(lengths[list(order)].reshape(-1, 16), batches)
