"""A packed row is what its lines are alone: transformers' own model is the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertForMaskedLM

from finetune.pretrain.__main__ import MaskedPositionsBert, load_model
from finetune.pretrain.masked_text import IGNORED, Masking, MaskingCollator, encode, pack
from finetune.pretrain.options import check_model

PAD, CLS, SEP = 0, 2, 3


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> Tokenizer:
    return check_model(checkpoint, max_length=32)


@pytest.fixture(scope="module")
def models(checkpoint: Path) -> tuple[MaskedPositionsBert, BertForMaskedLM]:
    return load_model(checkpoint, dropout=0.0).eval(), BertForMaskedLM.from_pretrained(checkpoint).eval()


def test_a_packed_line_gets_the_logits_it_gets_alone(
    models: tuple[MaskedPositionsBert, BertForMaskedLM], tokenizer: Tokenizer
) -> None:
    ours, plain = models
    lines = ["the cat sat", "on the red mat and looked", "a dog", "the moon number 1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7"]
    packed = pack(encode(tokenizer, lines, 32, min_tokens=3), 32, PAD, 0)
    assert len(packed) == 2
    ids = torch.as_tensor(packed, dtype=torch.long)
    batch = MaskingCollator(tokenizer, Masking(), seed=0)([{"input_ids": row, "labels": row} for row in packed])
    seen: list[torch.Tensor] = []
    hook = ours.cls.register_forward_hook(lambda module, inputs, logits: seen.append(logits))
    with torch.no_grad():
        ours(**batch)
        hook.remove()
        logits = seen[0].view(*ids.shape, -1)
        for row, row_logits in zip(ids, logits, strict=True):
            starts = (row == CLS).nonzero().flatten().tolist()
            ends = [*starts[1:], int((row != PAD).sum())]
            for start, end in zip(starts, ends, strict=True):
                alone = plain(row[None, start:end]).logits[0]
                torch.testing.assert_close(row_logits[start:end], alone, rtol=0, atol=1e-4)


def test_loss_and_accuracy_are_those_of_transformers(
    models: tuple[MaskedPositionsBert, BertForMaskedLM], tokenizer: Tokenizer, lines: list[str]
) -> None:
    ours, plain = models
    one_a_row = [pack([sequence], 32, PAD, 0)[0] for sequence in encode(tokenizer, lines[:16], 32)]
    batch = MaskingCollator(tokenizer, Masking(), seed=2)([{"input_ids": row} for row in one_a_row])
    ids, labels = batch["input_ids"], batch["labels"]
    with torch.no_grad():
        expected = plain(ids, attention_mask=torch.as_tensor(np.stack(one_a_row) != PAD).long(), labels=labels)
        found = ours(**batch)
    torch.testing.assert_close(found.loss, expected.loss, rtol=0, atol=1e-5)
    right = (expected.logits.argmax(-1) == labels).sum(1)
    assert torch.equal(found.logits, torch.stack((right, (labels != IGNORED).sum(1)), 1))


def test_a_batch_without_a_masked_position_has_no_loss(
    models: tuple[MaskedPositionsBert, BertForMaskedLM], tokenizer: Tokenizer
) -> None:
    row = pack([[CLS, 9, 10, SEP]], 32, PAD, 0)[0]
    labels = np.full(32, IGNORED)
    batch = MaskingCollator(tokenizer, Masking(), seed=0)([{"input_ids": row, "labels": labels}])
    assert models[0](**batch).loss.item() == 0.0
