"""Predicted words and their figures, against transformers; what is rejected; what is counted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from transformers import AutoModelForMaskedLM, AutoTokenizer

from evaluation.predict.fill_mask import filled
from evaluation.predict.likelihood import pseudo_log_likelihoods, score
from serving.answering.fill_mask import FillMask
from serving.engine import engine

ROOT = Path(__file__).parents[2]
EMBEDDED = ROOT / "model/embedded"
CLOZE = ROOT.parent / "shared/data/wikitext2_cloze_validation.jsonl"


class Oracle:
    """transformers' own answer to each mask of a text: the log-softmax over the vocabulary."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForMaskedLM.from_pretrained(folder).eval()

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text).input_ids

    def __call__(self, ids: list[int]) -> torch.Tensor:
        """Return [masks, vocabulary]."""
        with torch.no_grad():
            logits = self.model(torch.tensor([ids])).logits[0]
        return logits[torch.tensor(ids) == self.tokenizer.mask_token_id].log_softmax(-1)

    def spelled(self, text: str, mask: int, pieces: Sequence[int]) -> float:
        """Return the log-probability of a word of several pieces at a mask, left to right."""
        ids = self.ids(text)
        place = [index for index, token in enumerate(ids) if token == self.tokenizer.mask_token_id][mask]
        total = 0.0
        for piece, token in enumerate(pieces):
            hidden = [self.tokenizer.mask_token_id] * (len(pieces) - piece)
            masks_before = sum(token == self.tokenizer.mask_token_id for token in ids[:place])
            now = [*ids[:place], *pieces[:piece], *hidden, *ids[place + 1 :]]
            total += self(now)[masks_before][token].item()
        return total


@pytest.fixture(scope="module")
def oracle(sharp_checkpoint: Path) -> Oracle:
    return Oracle(sharp_checkpoint)


def rows_of(lines: list[str], count: int) -> list[dict[str, str]]:
    """Return sentences of all lengths with a mask in place of one of their words."""
    rows = []
    for number, line in enumerate(lines[:count]):
        words = line.split()[: 4 + number % 8]
        place = number % len(words)
        rows.append({"input_string": " ".join([*words[:place], "[MASK]", *words[place + 1 :]]), "title": words[place]})
    return rows


# Against transformers


def test_words_probabilities_and_ranks_are_those_of_transformers(
    predict: Callable[..., Any], sharp_checkpoint: Path, oracle: Oracle, lines: list[str]
) -> None:
    rows = rows_of(lines, 100)
    rows = [row for row in rows if len(oracle.tokenizer.tokenize(row["title"])) == 1]
    assert len(rows) > 30
    ran = predict("fill-mask", sharp_checkpoint, rows)
    assert ran.status == 0
    assert ran["ground_truth"] == [{"title": row["title"]} for row in rows]
    for number, row in enumerate(rows):
        expected = oracle(oracle.ids(row["input_string"]))[0]
        label = oracle.tokenizer.convert_tokens_to_ids(oracle.tokenizer.tokenize(row["title"]))[0]
        best = expected.exp().topk(5)
        prediction, (mask,) = ran["predictions"][number], ran["prediction_probabilities"][number]["masks"]
        assert prediction["line"] == ran["prediction_probabilities"][number]["line"] == number + 1
        assert prediction["input_string"] == row["input_string"]
        assert [score for _, score in prediction["top"]] == pytest.approx(best.values.tolist(), abs=1e-4)
        assert prediction["top"][0][0] == prediction["predictions"]
        assert mask["label_probability"] == pytest.approx(expected[label].exp().item(), abs=1e-4)
        larger, about = (expected > expected[label] + 1e-4).sum(), (expected > expected[label] - 1e-4).sum()
        assert larger < mask["label_rank"] <= about + 1
        assert mask["label_log_probability"] == pytest.approx(expected[label].item(), rel=1e-3, abs=1e-3)
        assert mask["best_probability"] == prediction["top"][0][1]
        found = oracle.tokenizer.convert_ids_to_tokens(int(best.indices[0])) == row["title"].lower()
        assert mask["found"] is found
        assert mask["label_pieces"] == 1


def test_several_masks_and_labels_of_several_pieces_are_scored_each(
    predict: Callable[..., Any], sharp_checkpoint: Path, oracle: Oracle
) -> None:
    text = "the [MASK] sat on the [MASK] and looked at [MASK]"
    labels = ["cat", "1234", "moon"]
    pieces = [oracle.tokenizer.convert_tokens_to_ids(oracle.tokenizer.tokenize(label)) for label in labels]
    assert [len(ids) > 1 for ids in pieces] == [False, True, False]
    ran = predict("fill-mask", sharp_checkpoint, [{"input_string": text, "title": labels}])
    (truth,), (prediction,), (found,) = ran["ground_truth"], ran["predictions"], ran["prediction_probabilities"]
    assert truth == {"title": labels}
    expected = oracle(oracle.ids(text))
    best = [oracle.tokenizer.convert_ids_to_tokens(int(row.argmax())) for row in expected]
    assert prediction["predictions"] == best == [top[0][0] for top in prediction["top"]]
    for index, mask in enumerate(found["masks"]):
        several = index == 1
        log = oracle.spelled(text, index, pieces[1]) if several else expected[index][pieces[index][0]].item()
        assert mask["label_probability"] == pytest.approx(math.exp(log), rel=1e-3)
        assert mask["label_log_probability"] == pytest.approx(log, rel=1e-3)
        assert (mask["label_rank"] is None) is several
        assert mask["label_pieces"] == len(pieces[index])
    assert [(mask["position"], mask["words"]) for mask in found["masks"]] == [(1, 10), (5, 10), (9, 10)]


def test_one_mask_may_have_a_label_of_several_pieces(
    predict: Callable[..., Any], sharp_checkpoint: Path, oracle: Oracle, lines: list[str]
) -> None:
    text = lines[0].replace("1000", "[MASK]")
    pieces = oracle.tokenizer.convert_tokens_to_ids(oracle.tokenizer.tokenize("1000"))
    ran = predict("fill-mask", sharp_checkpoint, [{"input_string": text, "title": "1000"}])
    (mask,) = ran["prediction_probabilities"][0]["masks"]
    assert mask["label_pieces"] == len(pieces) > 1
    assert mask["label_probability"] == pytest.approx(math.exp(oracle.spelled(text, 0, pieces)), rel=1e-3)
    assert mask["label_rank"] is None
    assert mask["found"] is False


def test_a_likelihood_below_every_probability_is_written_as_it_is(
    predict: Callable[..., Any], make_checkpoint: Callable[..., Path]
) -> None:
    folder = make_checkpoint(initializer_range=40.0)
    oracle = Oracle(folder)
    pieces = oracle.tokenizer.convert_tokens_to_ids(oracle.tokenizer.tokenize("1234"))
    ran = predict("fill-mask", folder, [{"input_string": "the [MASK] sat", "title": "1234"}])
    (mask,) = ran["prediction_probabilities"][0]["masks"]
    expected = oracle.spelled("the [MASK] sat", 0, pieces)
    assert expected < math.log(5e-324)
    assert mask["label_probability"] == 0
    assert mask["label_log_probability"] == pytest.approx(expected, rel=1e-3)


def test_the_words_that_are_the_label_are_said(
    predict: Callable[..., Any], sharp_checkpoint: Path, make_checkpoint: Callable[..., Path]
) -> None:
    text = "the [MASK] sat on the [MASK]"
    for folder, uncased in ((sharp_checkpoint, True), (make_checkpoint(lowercase=False), False)):
        every_word = ("--evaluation-config-params", '{"top_k": 1000}')
        rows = [{"input_string": text, "title": ["cat", "cat"]}]
        (found,) = predict("fill-mask", folder, rows, *every_word)["predictions"]
        words = [[word for word, _ in top] for top in found["top"]]
        # A label with letters that the vocabulary lacks is refused.
        spelled = [[word for word in top if word.isalpha() and (uncased or word.upper() in top)] for top in words]
        labels = [next(filter(str.islower, top)) for top in spelled]
        assert found["right"] == [[word == "cat" for word in top] for top in words]
        shouted = [{"input_string": text, "title": [label.upper() for label in labels]}]
        (found,) = predict("fill-mask", folder, shouted, *every_word)["predictions"]
        same = labels if uncased else [label.upper() for label in labels]
        expected = [[word == label for word, _ in top] for top, label in zip(found["top"], same, strict=True)]
        assert found["right"] == expected
    (found,) = predict("fill-mask", sharp_checkpoint, [{"input_string": "the [MASK] sat", "title": "cat"}])[
        "predictions"
    ]
    assert found["right"] == [word == "cat" for word, _ in found["top"]]


def test_a_text_longer_than_the_model_is_windowed_and_counted(
    predict: Callable[..., Any], sharp_checkpoint: Path, oracle: Oracle
) -> None:
    text = "[MASK] " + "the cat sat on the mat " * 10 + "[MASK]"
    ran = predict("fill-mask", sharp_checkpoint, [{"input_string": text, "title": ["cat", "mat"]}])
    ids = oracle.ids(text)
    windows = [[*ids[:31], ids[-1]], [ids[0], *ids[-31:]]]
    expected = [oracle(window)[0] for window in windows]
    labels = oracle.tokenizer.convert_tokens_to_ids(["cat", "mat"])
    found = [mask["label_probability"] for mask in ran["prediction_probabilities"][0]["masks"]]
    shares = [row[label].exp().item() for row, label in zip(expected, labels, strict=True)]
    assert found == pytest.approx(shares, abs=1e-4)
    assert ran.summary["windowed_rows"] == 1


def served(folder: Path, rows: Sequence[dict[str, str]]) -> tuple[list[bool], list[bool]]:
    """Return whether the title of each row is the best word, and among the five best, that the server would answer."""
    model = FillMask.load(folder, precision="fp32")
    answers = [candidates for (candidates,) in model.fill([row["input_string"] for row in rows], top_k=5)]
    words = [[model.tokenizer.normalize(candidate.token_str) for candidate in candidates] for candidates in answers]
    titles = [model.tokenizer.normalize(row["title"]) for row in rows]
    pairs = list(zip(titles, words, strict=True))
    return [title == best[0] for title, best in pairs], [title in best for title, best in pairs]


def test_the_best_words_are_those_that_are_served(
    predict: Callable[..., Any], sharp_checkpoint: Path, lines: list[str]
) -> None:
    rows = rows_of(lines, 200)
    ran = predict("fill-mask", sharp_checkpoint, rows)
    masks = [row["masks"][0] for row in ran["prediction_probabilities"]]
    assert [mask["found"] for mask in masks] == served(sharp_checkpoint, rows)[0]


@pytest.mark.skipif(not CLOZE.is_file(), reason=f"no {CLOZE.name} beside this checkout (../shared/data)")
def test_the_embedded_models_best_words_are_those_that_are_served(predict: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    file.write_text("".join(CLOZE.read_text(encoding="utf-8").splitlines(keepends=True)[:300]), encoding="utf-8")
    ran = predict("fill-mask", EMBEDDED, file)
    best, among_five = served(EMBEDDED, [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()])
    masks = [row["masks"][0] for row in ran["prediction_probabilities"]]
    assert len(masks) == 300
    assert [mask["found"] for mask in masks] == best
    assert sum(best) / 300 > 0.1
    assert sum((mask["label_rank"] or 9) <= 5 for mask in masks) == pytest.approx(sum(among_five), abs=3)


def test_case_counts_for_exact_alone_where_the_model_has_none(
    predict: Callable[..., Any], sharp_checkpoint: Path, lines: list[str]
) -> None:
    ran = predict("fill-mask", sharp_checkpoint, rows_of(lines, 300))
    best = {row["input_string"]: row["predictions"] for row in ran["predictions"]}
    text, word = next((text, word) for text, word in best.items() if word.isalpha() and word.islower())
    ran = predict("fill-mask", sharp_checkpoint, [{"input_string": text, "title": word.upper()}])
    (mask,) = ran["prediction_probabilities"][0]["masks"]
    assert (mask["found"], mask["exact"], mask["label_rank"]) == (True, False, 1)


def test_likelihoods_of_the_first_texts_are_those_of_the_texts_filled_in(
    predict: Callable[..., Any],
    sharp_checkpoint: Path,
    open_scorer: Callable[[Path], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sessions = []
    open_session = engine.open_session
    monkeypatch.setattr(engine, "open_session", lambda *given: sessions.append(given) or open_session(*given))
    monkeypatch.setattr("evaluation.model_prediction.CHUNK_ROWS", 2)
    rows = [
        {"input_string": "the [MASK] sat", "title": "cat"},
        {"input_string": "the cat " * 20 + "[MASK]", "title": "sat"},  # longer than the model
        {"input_string": "the [MASK] [MASK] on", "title": ["dog", "sat"]},
        {"input_string": "[MASK] looked", "title": "bird"},
    ]
    config = ["--evaluation-config-params", '{"pseudo_perplexity": true, "pseudo_perplexity_rows": 3}']
    ran = predict("fill-mask", sharp_checkpoint, rows, *config)
    assert len(sessions) == 1  # of one model, which is in memory once
    first, third = pseudo_log_likelihoods(*open_scorer(sharp_checkpoint), ["the cat sat", "the dog sat on"])
    assert ran.summary["likelihood_seconds"] > 0
    nothing = (None, None, None, None)
    keys = ("pll", "pll_l2r", "pll_tokens", "pll_words")
    found = [tuple(row[key] for key in keys) for row in ran["prediction_probabilities"]]
    expected = [(one.pll, one.pll_l2r, one.tokens, one.words) for one in (first, third)]
    assert found == [pytest.approx(expected[0], rel=1e-4), nothing, pytest.approx(expected[1], rel=1e-4), nothing]


# What is rejected


def test_a_row_that_cannot_be_scored_is_rejected_and_the_others_are_scored_in_their_order(
    predict: Callable[..., Any], sharp_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "the [MASK] sat"
    bad = [
        ({"input_string": 5, "title": "cat"}, "not_text"),
        ({"input_string": "\ud800 [MASK]", "title": "cat"}, "not_text"),
        ({"input_string": " ", "title": "cat"}, "empty_text"),
        ({"input_string": "the cat sat", "title": "cat"}, "missing_mask"),
        ({"input_string": text, "title": 5}, "invalid_label"),
        ({"input_string": text, "title": " "}, "invalid_label"),
        ({"input_string": text, "title": None}, "invalid_label"),
        ({"input_string": text, "title": "\udc00"}, "invalid_label"),
        ({"input_string": text, "title": ["cat", "dog"]}, "wrong_number_of_labels"),
        ({"input_string": text, "title": []}, "wrong_number_of_labels"),
        ({"input_string": f"{text} [MASK]", "title": "cat"}, "wrong_number_of_labels"),
        ({"input_string": text, "title": "\u732b"}, "unknown_label"),
        ({"input_string": text}, "missing_column"),
    ]
    rows = [row for number, (one, _) in enumerate(bad) for row in ({"input_string": text, "title": "cat"}, one)]
    ran = predict("fill-mask", sharp_checkpoint, rows)
    assert ran.status == 0
    assert ran.codes == [(2 * number + 2, code) for number, (_, code) in enumerate(bad)]
    for reject in ran["rejects"]:
        assert set(reject) == {"file", "line", "code", "message"}
        assert reject["file"] == "rows.jsonl"
        assert reject["message"].startswith("expected ")
        assert "found" in reject["message"]
        assert "sat" not in reject["message"]
    odd = list(range(1, 2 * len(bad), 2))
    assert [row["line"] for row in ran["predictions"]] == odd
    assert [row["line"] for row in ran["prediction_probabilities"]] == odd
    assert len(ran["ground_truth"]) == len(odd)
    summary = ran.summary
    counts = (summary["rows_read"], summary["rows_predicted"], summary["rows_rejected"])
    assert counts == (2 * len(bad), len(bad), len(bad))
    err = capsys.readouterr().err
    assert "13 rows predicted, 13 rejected\n" in err
    assert "rows.jsonl, line 2: not_text: expected input_string to be a text, found a number\n" in err


def test_a_csv_files_list_of_labels_is_that_of_json(
    predict: Callable[..., Any], sharp_checkpoint: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    lists = '"[MASK] [MASK]","[""cat"", ""dog""]"\n[MASK] sat,"cat"\n[MASK] sat,"[""dog""]"\n'
    printed = "[MASK] sat,['cat']\n\"[MASK] [MASK]\",\"['cat', 'dog']\"\n"
    file.write_text(f"input_string,title\n{lists}{printed}[MASK] sat,1234\n")
    ran = predict("fill-mask", sharp_checkpoint, file)
    assert ran["ground_truth"] == [{"title": ["cat", "dog"]}, {"title": "cat"}, {"title": "dog"}, {"title": "1234"}]
    assert [row["line"] for row in ran["predictions"]] == [2, 3, 4, 7]
    assert ran.codes == [(5, "invalid_label"), (6, "invalid_label")]
    assert all(row["message"].endswith("write it as JSON does") for row in ran["rejects"])


# The parts


@given(
    arrays.arrays(np.float32, (9, 12), elements=st.floats(-20, 20, width=32)),
    st.lists(st.integers(0, 11), min_size=9, max_size=9),
    st.integers(1, 12),
)
def test_scores_are_those_of_a_plain_softmax(logits: np.ndarray, labels: list[int], best: int) -> None:
    exact = logits.astype(np.float64)
    expected = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    for raw, row, label, found in zip(logits, expected, labels, score(logits, labels, best), strict=True):
        assert found.log_probability == pytest.approx(row[label], abs=1e-4)
        assert found.rank == 1 + sum(other > raw[label] for other in raw)
        assert found.probabilities == pytest.approx(sorted(np.exp(row), reverse=True)[:best], rel=1e-3)
        assert [raw[token] for token in found.tokens] == sorted(raw, reverse=True)[:best]


@given(st.lists(st.tuples(st.text("ab "), st.text("xyz", min_size=1)), min_size=1, max_size=5))
def test_words_are_filled_in_where_the_masks_are(parts: list[tuple[str, str]]) -> None:
    text, spans = "", []
    for before, _ in parts:
        spans.append((len(text + before), len(text + before) + 6))
        text += before + "[MASK]"
    assert filled(text, spans, [word for _, word in parts]) == "".join(before + word for before, word in parts)
