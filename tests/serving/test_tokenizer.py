"""Windows around masks, and tokenizers that are not this model's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import serving.model.tokenizer
from serving.errors import DeadlineExceeded, ModelFolderError
from serving.model.tokenizer import MaskTokenizer
from serving.requests.call import calling


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> MaskTokenizer:
    return MaskTokenizer(checkpoint / "tokenizer.json", vocab_size=100, max_positions=32)


@given(data=st.data())
def test_every_mask_is_in_exactly_one_passage_with_context_on_both_sides(
    tokenizer: MaskTokenizer, data: st.DataObject
) -> None:
    length = data.draw(st.integers(1, 300))
    masks = sorted(data.draw(st.sets(st.integers(0, length - 1), min_size=1, max_size=12)))
    ids = [tokenizer.mask_id if index in masks else 10 + index for index in range(length)]
    passages = tokenizer.passages(ids, masks)
    seen = []
    for passage in passages:
        assert len(passage.ids) <= 32
        assert (passage.ids[0], passage.ids[-1]) == (tokenizer.cls_id, tokenizer.sep_id)
        for mask in passage.masks:
            assert passage.ids[mask] == tokenizer.mask_id
            found = masks[len(seen)]
            seen.append(found)
            # A quarter of the window, or all that the text has, is there on either side.
            assert mask - 1 >= min(found, tokenizer.window // 4)
            assert len(passage.ids) - 2 - mask >= min(length - 1 - found, tokenizer.window // 4 - 1)
    assert seen == masks
    assert (len(passages) == 1) or length > tokenizer.window


@given(data=st.data())
def test_a_spelled_passage_is_that_of_the_whole_text(tokenizer: MaskTokenizer, data: st.DataObject) -> None:
    ids = list(range(10, 10 + data.draw(st.integers(1, 200))))
    mask = data.draw(st.integers(0, len(ids) - 1))
    pieces = [7, 8, 9][: data.draw(st.integers(1, 3))]
    for piece in range(len(pieces)):
        word = pieces[:piece] + [tokenizer.mask_id] * (len(pieces) - piece)
        (whole,) = tokenizer.passages(ids[:mask] + word + ids[mask + 1 :], [mask + piece], [pieces[piece]])
        assert tokenizer.spelled(ids, mask, pieces, piece) == whole


def test_masks_are_found_with_their_place_in_the_users_text(tokenizer: MaskTokenizer) -> None:
    text = "  The [MASK],  the[MASK]!"
    encoded = tokenizer.encode([text])[0]
    assert [text[start:end] for start, end in encoded.spans] == ["[MASK]", "[MASK]"]
    assert [encoded.ids[mask] for mask in encoded.masks] == [tokenizer.mask_id] * 2


def test_truncation_and_padding_in_the_file_are_not_used(checkpoint: Path, tmp_path: Path) -> None:
    written = json.loads((checkpoint / "tokenizer.json").read_text())
    written["truncation"] = {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(written))
    cut = MaskTokenizer(tmp_path / "tokenizer.json", 100, 32)
    assert len(cut.encode(["the cat sat on the warm mat [MASK]"])[0].masks) == 1


def test_a_word_that_the_vocabulary_has_is_not_split(tokenizer: MaskTokenizer) -> None:
    assert len(tokenizer.pieces("cat") or []) == 1
    assert tokenizer.pieces("☃") is None
    assert tokenizer.pieces("") is None


def test_an_uncased_tokenizer_normalizes_case_and_a_cased_one_does_not(
    tokenizer: MaskTokenizer, make_checkpoint: Callable[..., Path]
) -> None:
    cased = MaskTokenizer(make_checkpoint(lowercase=False) / "tokenizer.json", 100, 32)
    assert (tokenizer.normalize("Été"), cased.normalize("Été")) == ("ete", "Été")


@pytest.mark.parametrize(
    ("content", "vocab_size", "message"),
    [
        ("not json", 100, "expected a tokenizer of the tokenizers library"),
        (None, 50, "expected token ids below config.json's vocab_size 50"),
        (
            '{"model": {"type": "WordPiece", "vocab": {"[UNK]": 0}}}',
            100,
            r"found no \[PAD\], \[CLS\], \[SEP\], \[MASK\]",
        ),
    ],
)
def test_a_tokenizer_of_another_model_is_named(
    checkpoint: Path, tmp_path: Path, content: str | None, vocab_size: int, message: str
) -> None:
    path = tmp_path / "tokenizer.json"
    if content and content.startswith("{"):
        written = json.loads((checkpoint / "tokenizer.json").read_text())
        written["model"]["vocab"], written["added_tokens"], written["post_processor"] = {"[UNK]": 0}, [], None
        content = json.dumps(written)
    path.write_text(content or (checkpoint / "tokenizer.json").read_text())
    with pytest.raises(ModelFolderError, match=message):
        MaskTokenizer(path, vocab_size, 32)


def test_a_text_of_nothing_but_masks_is_encoded_in_a_time_that_grows_with_its_length(tokenizer: MaskTokenizer) -> None:
    # 4 MB of masks once took hours: each mask's place was looked up in a list made anew of all.
    start = time.perf_counter()
    [encoded] = tokenizer.encode(["[MASK]" * 100_000])
    assert (len(encoded.masks), encoded.spans[-1]) == (100_000, (599_994, 600_000))
    assert time.perf_counter() - start < 20


def test_a_vocabulary_that_cannot_say_what_it_lacks_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    # It would have answered only requests of words that it has, and 500 to others.
    content = json.loads((checkpoint / "tokenizer.json").read_bytes())
    content["model"]["unk_token"] = "none"
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelFolderError, match=r"found: WordPiece error: Missing \[UNK\] token"):
        MaskTokenizer(tmp_path / "tokenizer.json", vocab_size=100, max_positions=32)


def test_texts_are_encoded_a_few_at_a_time_and_no_longer_than_the_deadline(
    tokenizer: MaskTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["the cat", "sat", "", "on the [MASK]", "m" * 50] * 3
    together = tokenizer.encode(texts)
    monkeypatch.setattr(serving.model.tokenizer, "CHARACTERS_AT_ONCE", 9)
    assert tokenizer.encode(texts) == together
    with calling(-1.0), pytest.raises(DeadlineExceeded):
        tokenizer.encode(texts)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("model", {"max_input_chars_per_word": 10**9}, "max_input_chars_per_word of at most 1000, found 1000000000"),
        (
            "normalizer",
            {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"},
            "a normalizer that adds no text, found a part that adds 1 letters",
        ),
        (
            "normalizer",
            {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"Regex": "."}, "content": "x" * 99}]},
            "found a part that adds 98 letters",
        ),
        ("normalizer", {"type": "Prepend", "prepend": "[MASK]"}, "found a part that adds 6 letters"),
    ],
)
def test_a_tokenizer_that_makes_much_of_little_is_refused(
    checkpoint: Path, tmp_path: Path, part: str, change: dict[str, object], message: str
) -> None:
    content = json.loads((checkpoint / "tokenizer.json").read_bytes())
    content[part] = (content[part] if part == "model" else {}) | change
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelFolderError, match=message):
        MaskTokenizer(tmp_path / "tokenizer.json", vocab_size=100, max_positions=32)


@pytest.mark.parametrize(
    "normalizer",
    [
        None,
        {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}]},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        {"type": "Replace", "pattern": {"String": "--"}, "content": "-"},
    ],
)
def test_other_normalizers_are_taken(checkpoint: Path, tmp_path: Path, normalizer: object) -> None:
    content = json.loads((checkpoint / "tokenizer.json").read_bytes()) | {"normalizer": normalizer}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    assert MaskTokenizer(tmp_path / "tokenizer.json", vocab_size=100, max_positions=32).encode(["the  cat"])
