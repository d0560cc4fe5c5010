"""Texts to candidates: windows, targets, what the user's text looks like afterwards."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertForMaskedLM

from serving.answering.fill_mask import FillMask
from serving.errors import BadRequest, TooLarge
from serving.settings import Settings

TEXT = "The [MASK] sat on the warm mat and looked at moon number 1234."


@pytest.fixture(scope="module")
def model(sharp_checkpoint: Path) -> FillMask:
    return FillMask.load(sharp_checkpoint, "fp32")


def test_candidates_come_best_first_with_the_users_own_text_filled_in(model: FillMask) -> None:
    candidates = model.fill([TEXT], top_k=5)[0][0]
    assert [c.score for c in candidates] == sorted((c.score for c in candidates), reverse=True)
    for candidate in candidates:
        assert model.tokenizer.token(candidate.token) == candidate.token_str
        expected = TEXT.replace("[MASK]", candidate.token_str)
        if candidate.token_str.startswith("##"):  # it continues the word before
            expected = TEXT.replace(" [MASK]", candidate.token_str[2:])
        assert candidate.sequence == expected


def test_several_masks_are_filled_one_by_one(model: FillMask) -> None:
    row = model.fill(["The [MASK] sat on the [MASK][MASK]."])[0]
    assert len(row) == 3
    assert row[0][0].sequence.endswith(" sat on the [MASK][MASK].")
    assert row[1][0].sequence.startswith("The [MASK] sat on the")


def test_a_target_in_the_vocabulary_has_its_probability_among_all_words(model: FillMask) -> None:
    everything = {c.token_str: c.score for c in model.fill([TEXT], top_k=1000)[0][0]}
    assert math.isclose(sum(everything.values()), 1, abs_tol=1e-5)
    first, second, third = [word for word in everything if word.isalpha() and len(word) > 2][:3]
    asked = {first, second, third.title()}
    found = model.fill([TEXT], top_k=9, targets=sorted(asked))[0][0]
    assert {c.token_str for c in found} == asked
    for candidate in found:
        assert math.isclose(candidate.score, everything[candidate.token_str.lower()], rel_tol=1e-4)
    assert found[0].score >= found[1].score >= found[2].score


def test_targets_of_several_pieces_alone_cost_no_more_than_their_pieces(
    model: FillMask, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, batches = model.engine.run, []
    monkeypatch.setattr(model.engine, "run", lambda passages: batches.append(len(passages)) or run(passages))
    pieces = len(model.tokenizer.pieces("catroof"))
    assert len(model.fill(["The [MASK] sat.", "A [MASK] [MASK]."], targets=["catroof"])) == 2
    assert batches == [3 * pieces]


def test_a_target_of_several_pieces_is_scored_piece_by_piece(model: FillMask, sharp_checkpoint: Path) -> None:
    tokenizer = Tokenizer.from_file(str(sharp_checkpoint / "tokenizer.json"))
    pieces = tokenizer.encode("catroof", add_special_tokens=False).ids
    assert len(pieces) > 1
    oracle = BertForMaskedLM.from_pretrained(sharp_checkpoint).eval()
    ids = tokenizer.encode(TEXT).ids
    mask = ids.index(tokenizer.token_to_id("[MASK]"))
    expected = 1.0
    for n, piece in enumerate(pieces):
        word = pieces[:n] + [tokenizer.token_to_id("[MASK]")] * (len(pieces) - n)
        with torch.no_grad():
            logits = oracle(torch.tensor([ids[:mask] + word + ids[mask + 1 :]])).logits[0, mask + n]
        expected *= float(logits.softmax(-1)[piece])
    found = next(c for c in model.fill([TEXT], 2, ["catroof", "dog"])[0][0] if c.token_str == "catroof")
    assert found.token == pieces
    assert found.sequence == TEXT.replace("[MASK]", "catroof")
    assert math.isclose(found.score, expected, rel_tol=1e-3)


def test_a_target_that_cannot_be_spelled_is_refused(model: FillMask) -> None:
    with pytest.raises(BadRequest, match="target '☃' cannot be spelled") as caught:
        model.fill([TEXT], targets=["cat", "☃"])
    assert caught.value.code == "unknown_target"


def test_a_text_longer_than_the_model_is_windowed_and_no_mask_is_lost(model: FillMask) -> None:
    long = "the cat sat " * 30 + "[MASK] " + "on the mat " * 30 + "[MASK] [MASK] end"
    filled = model.fill([long, TEXT, "the [MASK]"])
    assert filled.windowed == 1
    assert [len(row) for row in filled] == [3, 1, 1]
    assert filled[0][0][0].sequence.count("[MASK]") == 2


def test_a_window_gives_what_its_own_text_gives(model: FillMask) -> None:
    words = ["the", "cat", "dog", "sat", "mat"] * 20
    words[50] = "[MASK]"
    inside = " ".join(words[50 - 15 : 50 + 15])  # 30 tokens: the window of a model of 32 positions
    [[whole]], [[cut]] = model.fill([" ".join(words)], 3), model.fill([inside], 3)
    assert [c.token for c in whole] == [c.token for c in cut]
    np.testing.assert_allclose([c.score for c in whole], [c.score for c in cut], rtol=1e-4)


@pytest.mark.parametrize(
    ("texts", "targets", "limits", "code", "index"),
    [
        (["a [MASK]", "no gap"], None, {}, "missing_mask", 1),
        (["a [MASK]", "[MASK] [MASK] [MASK]"], None, {"max_masks": 2}, "too_many_masks", 1),
        (["[MASK]"] * 9, None, {"max_passages": 8}, "too_much_work", None),
        (["[MASK]"], ["catroof"], {"max_passages": 2}, "too_much_work", None),
        (["[MASK]"] * 9, None, {"max_answer_bytes": 575}, "answer_too_large", None),
    ],
)
def test_a_request_over_a_limit_is_refused_by_name(
    sharp_checkpoint: Path, texts: list[str], targets: list[str], limits: dict[str, int], code: str, index: int | None
) -> None:
    model = FillMask.load(sharp_checkpoint, "fp32", Settings(**limits))
    with pytest.raises((BadRequest, TooLarge)) as caught:
        model.fill(texts, targets=targets)
    assert (caught.value.code, caught.value.index) == (code, index)


def test_rows_are_answered_in_their_order_whatever_their_lengths(model: FillMask) -> None:
    texts = ["the " * n + "[MASK] cat" for n in (25, 1, 13, 2, 25, 7)]
    together = model.fill(texts, 3)
    for text, row in zip(texts, together, strict=True):
        alone = model.fill([text], 3)[0]
        assert [c.token for c in row[0]] == [c.token for c in alone[0]]


def test_nothing_asked_is_nothing_answered(model: FillMask) -> None:
    assert model.fill([]) == []
    assert model.fill([], targets=["cat"]) == []


def test_refusals_are_what_fill_raises_for_each_text_alone(sharp_checkpoint: Path) -> None:
    model = FillMask.load(sharp_checkpoint, "fp32", Settings(max_masks=2))
    texts = [TEXT, "no gap", "[MASK] and [MASK]", "[MASK] [MASK] [MASK]", ""]
    refused = model.refusals(texts, "input {}".format)
    for index, text in enumerate(texts):
        if index in refused:
            with pytest.raises(BadRequest) as raised:
                model.fill([text], row_name=lambda _, index=index: f"input {index}")
            assert (refused[index].code, str(refused[index])) == (raised.value.code, str(raised.value))
            assert refused[index].index == index
        else:
            assert model.fill([text])[0]
    codes = {index: error.code for index, error in refused.items()}
    assert codes == {1: "missing_mask", 3: "too_many_masks", 4: "missing_mask"}
