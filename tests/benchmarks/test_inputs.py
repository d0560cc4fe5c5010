from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import BertConfig, BertForMaskedLM

from benchmarks.inputs import (
    BASE,
    GRID,
    MASK,
    RAGGED,
    calibration,
    cut,
    encode,
    points,
    random_base,
    sentences,
    shapes,
    weights,
)
from benchmarks.peers.systems import best_of_logits, feeds

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = ROOT / "model/embedded"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(EMBEDDED / "tokenizer.json"))


def test_every_point_has_its_rows_and_tokens_and_one_mask_a_row(tokenizer: Tokenizer) -> None:
    batches = points(tokenizer)
    assert len(batches) == len(GRID) + 1
    for (rows, tokens), batch in zip(GRID, batches.values(), strict=False):
        assert [len(row) for row in batch.ids] == [tokens] * rows
    for batch in batches.values():
        mask = tokenizer.token_to_id(MASK)
        assert [row[index] for row, index in zip(batch.ids, batch.masks, strict=True)] == [mask] * len(batch.ids)


def test_inputs_are_the_same_in_every_run(tokenizer: Tokenizer) -> None:
    assert points(tokenizer) == points(tokenizer)


def test_sentences_are_32_of_varied_length_with_one_mask() -> None:
    lengths = [len(text.split()) for text in sentences()]
    assert len(lengths) == 32
    assert min(lengths) == 5 and max(lengths) >= 60
    assert all(text.count(MASK) == 1 for text in sentences())


def test_calibration_rows_have_one_mask_each(tokenizer: Tokenizer) -> None:
    rows = calibration(tokenizer, 40)
    assert len(rows) == 40
    assert all(len(row.masks) == 1 for row in rows)


def test_a_text_without_a_mask_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="expected one"):
        encode(tokenizer, ["no gap"])


def test_chosen_rows_keep_text_ids_and_mask_together(tokenizer: Tokenizer) -> None:
    batch = points(tokenizer, ())[RAGGED]
    chosen = batch.chosen([3, 1])
    assert chosen.texts == [batch.texts[3], batch.texts[1]]
    assert chosen.ids == [batch.ids[3], batch.ids[1]]
    assert chosen.masks == [batch.masks[3], batch.masks[1]]


def test_padded_rows_have_their_masks_at_positions(tokenizer: Tokenizer) -> None:
    batch = points(tokenizer, ())[RAGGED]
    made = feeds(batch)
    assert made["input_ids"].shape == made["attention_mask"].shape == (32, batch.longest)
    assert made["attention_mask"].sum() == batch.tokens
    assert set(made["input_ids"].ravel()[made["positions"]]) == {tokenizer.token_to_id(MASK)}


def test_best_of_logits_is_the_softmax_at_each_position() -> None:
    logits = np.random.default_rng(0).standard_normal((2, 3, 7)).astype(np.float32)
    tokens, scores = best_of_logits(logits, np.array([1, 5]))
    rows = logits.reshape(6, 7)[[1, 5]]
    expected = np.exp(rows) / np.exp(rows).sum(axis=1, keepdims=True)
    assert tokens == expected.argmax(axis=1).tolist()
    np.testing.assert_allclose(scores, expected.max(axis=1), rtol=1e-5)


def test_random_weights_are_those_that_transformers_expects() -> None:
    config = {**BASE, "vocab_size": 50, "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2}
    model = BertForMaskedLM(BertConfig(**config))
    expected = {
        name: tuple(value.shape) for name, value in model.named_parameters() if name != "cls.predictions.decoder.bias"
    }
    assert shapes(config) == expected
    assert {name: array.shape for name, array in weights(config).items()} == expected


def test_the_cut_tokenizer_makes_no_id_beyond_the_vocabulary() -> None:
    described = json.loads((EMBEDDED / "tokenizer.json").read_text(encoding="utf-8"))
    small = Tokenizer.from_str(json.dumps(cut(described, BASE["vocab_size"])))
    assert small.get_vocab_size() == BASE["vocab_size"]
    assert max(max(row) for row in points(small, ())[RAGGED].ids) < BASE["vocab_size"]


def test_a_checkpoint_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "bert-base-random-17"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"kept")
    assert random_base(tmp_path, EMBEDDED) == folder
    assert (folder / "model.safetensors").read_bytes() == b"kept"
