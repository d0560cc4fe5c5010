"""Pseudo-log-likelihoods are those of a plain loop over transformers, both as first published and within words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from evaluation.predict import likelihood
from evaluation.predict.likelihood import MaskScore, Pll, pseudo_log_likelihoods
from serving.engine.engine import Engine
from serving.model.tokenizer import MaskTokenizer

Scorer = tuple[MaskTokenizer, Engine[list[MaskScore]]]


def plain_loop(folder: Path, text: str) -> Pll:
    """Score one token after another, each from a row of its own."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    encoding = tokenizer(text, return_tensors="pt")
    ids, words = encoding.input_ids[0], encoding.word_ids()
    sums = {"original": 0.0, "within_word": 0.0}
    tokens = [index for index, word in enumerate(words) if word is not None]
    for index in tokens:
        for variant in sums:
            masked = ids.clone()
            masked[index] = tokenizer.mask_token_id
            if variant == "within_word":
                for other in tokens:
                    if other > index and words[other] == words[index]:
                        masked[other] = tokenizer.mask_token_id
            with torch.no_grad():
                logits = model(masked[None], attention_mask=torch.ones_like(masked)[None]).logits[0, index]
            sums[variant] += torch.log_softmax(logits.double(), -1)[ids[index]].item()
    return Pll(*sums.values(), len(tokens), len({words[index] for index in tokens}))


@pytest.fixture(scope="module", params=["bert", "distilbert", "cased"])
def folder(request: pytest.FixtureRequest, make_checkpoint: Callable[..., Path]) -> Path:
    if request.param == "cased":
        return make_checkpoint(lowercase=False, initializer_range=0.3)
    return make_checkpoint(architecture=request.param, initializer_range=0.3)


@pytest.fixture(scope="module")
def scorer(folder: Path, open_scorer: Callable[[Path], Scorer]) -> Scorer:
    return open_scorer(folder)


TEXTS = [
    "The cat sat on the red mat.",
    "sat",
    "looked at moon number 1234",
    "The Dog, the mouse's 97531 garden; roof-chair?",
    "☃ and cat",
]


def test_both_variants_are_those_of_a_plain_loop(folder: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihood, "CHUNK", 7)  # so that texts are split between chunks
    expected = [plain_loop(folder, text) for text in TEXTS]
    found = pseudo_log_likelihoods(*scorer, TEXTS)
    assert [pll.pll for pll in found] == pytest.approx([pll.pll for pll in expected], abs=1e-4)
    assert [pll.pll_l2r for pll in found] == pytest.approx([pll.pll_l2r for pll in expected], abs=1e-4)
    assert [(pll.tokens, pll.words) for pll in found] == [(pll.tokens, pll.words) for pll in expected]
    assert found[2].tokens > found[2].words  # of several pieces, or the variants could not differ
    assert abs(found[2].pll - found[2].pll_l2r) > 0.01


def test_a_text_scores_the_same_alone_and_among_others(scorer: Scorer) -> None:
    together = pseudo_log_likelihoods(*scorer, TEXTS)
    for text, found in zip(TEXTS, together, strict=True):
        (alone,) = pseudo_log_likelihoods(*scorer, [text])
        assert (alone.pll, alone.pll_l2r) == pytest.approx((found.pll, found.pll_l2r), abs=1e-4)


def test_no_texts_have_no_likelihoods(scorer: Scorer) -> None:
    assert pseudo_log_likelihoods(*scorer, []) == []


def test_only_whole_texts_that_fit_the_model_are_scored(scorer: Scorer) -> None:
    texts = ["a cat", "cat " * 31, " ", "a [MASK] sat", "The mat"]
    found = pseudo_log_likelihoods(*scorer, texts)
    assert [likelihood is None for likelihood in found] == [False, True, True, True, False]
    alone = pseudo_log_likelihoods(*scorer, ["a cat", "The mat"])
    assert [found[0].pll, found[4].pll] == pytest.approx([likelihood.pll for likelihood in alone], abs=1e-4)


def test_a_likelihood_below_every_probability_is_that_of_a_plain_loop(
    make_checkpoint: Callable[..., Path], open_scorer: Callable[[Path], Scorer]
) -> None:
    folder = make_checkpoint(initializer_range=40.0)
    (found,) = pseudo_log_likelihoods(*open_scorer(folder), ["The cat sat"])
    assert found.pll == pytest.approx(plain_loop(folder, "The cat sat").pll, rel=1e-4)
    assert found.pll < -104 * found.tokens  # a 32-bit probability is no smaller than e^-104
