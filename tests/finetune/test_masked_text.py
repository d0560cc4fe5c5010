"""Text in, masked rows out: nothing lost on the way, nothing hidden that should not be."""

from __future__ import annotations

import gzip
import lzma
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from finetune.pretrain.masked_text import (
    IGNORED,
    FinetuneError,
    Masking,
    MaskingCollator,
    encode,
    is_held_out,
    masked_once,
    pack,
    read_lines,
    without_seen,
)
from finetune.pretrain.options import check_model
from serving.model.tokenizer import SPECIAL_TOKENS, open_tokenizer

PAD, CLS, SEP = 0, 2, 3
WRITERS: dict[str, Callable[..., Any]] = {".txt": open, ".gz": gzip.open, ".xz": lzma.open}
framed = st.lists(st.integers(5, 99), max_size=10).map(lambda ids: [CLS, *ids, SEP])


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> Tokenizer:
    return check_model(checkpoint, max_length=32)


def unpacked(rows: np.ndarray) -> list[list[int]]:
    """Split rows at each [CLS] and drop the padding."""
    found: list[list[int]] = []
    for row in rows.tolist():
        for token in row:
            if token == CLS:
                found.append([])
            if token != PAD:
                found[-1].append(token)
    return found


# Reading


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"))), st.sampled_from(sorted(WRITERS)))
def test_lines_are_read_as_they_were_written_plain_or_compressed(lines: list[str], suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"lines{suffix}"
        with WRITERS[suffix](file, "wt", encoding="utf-8") as out:
            out.write("\n".join(lines))
        expected = [line.strip() for line in lines if line.strip()]
        if expected and lines[0].startswith("\ufeff"):  # a byte order mark, as Windows editors write it
            expected = [line.strip() for line in (lines[0][1:], *lines[1:]) if line.strip()]
        assert list(read_lines([file])) == expected


def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "latin1.txt"
    file.write_bytes("good line\nzweite Zeile, schön\n".encode("latin1"))
    with pytest.raises(FinetuneError, match=r"latin1\.txt, line 2: expected UTF-8 text, found the byte 0xf6; convert"):
        list(read_lines([file]))


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_damaged_archive_is_an_error_that_names_the_file(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    with WRITERS[suffix](whole, "wt", encoding="utf-8") as out:
        out.write("".join(f"line {n}\n" for n in range(2000)))
    raw = whole.read_bytes()
    damaged = {"cut": raw[: len(raw) // 2], "text": b"plain text", "flipped": raw[:40] + bytes(40) + raw[80:]}
    for name, content in damaged.items():
        file = tmp_path / f"{name}{suffix}"
        file.write_bytes(content)
        with pytest.raises(FinetuneError, match=rf"{name}\{suffix}: expected a readable text file"):
            list(read_lines([file]))


def test_missing_file_and_folder_are_errors_that_name_them(tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(FinetuneError, match=f"{path.name}: expected a readable text file"):
            list(read_lines([path]))


# Holding out


@given(st.lists(st.text(min_size=1)), st.integers(2, 20))
def test_a_line_is_on_the_same_side_wherever_it_stands(lines: list[str], one_in: int) -> None:
    sides = {line: is_held_out(line, one_in) for line in lines}
    assert [is_held_out(line, one_in) for line in reversed(lines + lines)] == [
        sides[s] for s in reversed(lines + lines)
    ]


def test_about_one_line_in_so_many_is_held_out() -> None:
    held_out = sum(is_held_out(f"line {n}", 20) for n in range(20_000))
    assert 850 <= held_out <= 1150  # 1,000 expected, five standard deviations


def test_lines_that_become_the_same_tokens_are_not_held_out(tokenizer: Tokenizer) -> None:
    train = encode(tokenizer, ["The cat sat on the mat."], 32)
    held_out = encode(
        tokenizer, ["the  CAT sat on the mat .", "the dog sat on the mat.", "The dog sat on the mat."], 32
    )
    assert without_seen(held_out, train) == encode(tokenizer, ["The dog sat on the mat."], 32)


# Tokens and rows


@settings(max_examples=50, deadline=None)
@given(lines=st.lists(st.text("catdog thesa019. ", max_size=80), max_size=20), length=st.integers(3, 32))
def test_encoding_loses_no_token_and_frames_each_piece(tokenizer: Tokenizer, lines: list[str], length: int) -> None:
    sequences = [list(sequence) for sequence in encode(tokenizer, lines, length, min_tokens=3)]
    assert all(s[0] == CLS and s[-1] == SEP and 3 <= len(s) <= length for s in sequences)
    together = [token for sequence in sequences for token in sequence[1:-1]]
    assert together == [t for line in lines for t in tokenizer.encode(line, add_special_tokens=False).ids]


def test_short_sequences_are_left_out(tokenizer: Tokenizer) -> None:
    assert encode(tokenizer, ["the cat", "the cat sat on the mat"], 32, min_tokens=5) == encode(
        tokenizer, ["the cat sat on the mat"], 32, min_tokens=3
    )


def test_special_tokens_in_a_text_are_characters(tokenizer: Tokenizer) -> None:
    (sequence,) = encode(tokenizer, ["the [MASK] sat on [SEP] the [CLS] mat [PAD]"], 32)
    ids = {tokenizer.token_to_id(token) for token in ("[MASK]", "[PAD]", "[CLS]", "[SEP]")}
    assert not ids & set(sequence[1:-1])


def test_a_truncation_and_padding_stored_in_the_tokenizer_are_not_applied(checkpoint: Path, tmp_path: Path) -> None:
    stored = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    stored.enable_truncation(4)
    stored.enable_padding(length=16)
    stored.save(str(tmp_path / "tokenizer.json"))
    lines = ["the cat sat on the mat", "a dog sat"]
    ours, plain = (open_tokenizer(folder / "tokenizer.json", 100) for folder in (tmp_path, checkpoint))
    assert encode(ours, lines, 32, min_tokens=3) == encode(plain, lines, 32, min_tokens=3)


@given(st.lists(framed, max_size=40), st.integers(12, 20), st.integers(0, 9))
def test_packing_keeps_every_sequence_whole_and_no_row_too_long(
    sequences: list[list[int]], length: int, seed: int
) -> None:
    rows = pack(sequences, length, PAD, seed)
    assert rows.shape[1] == length
    assert sorted(unpacked(rows)) == sorted(sequences)
    padding = rows == PAD
    assert np.array_equal(padding, np.maximum.accumulate(padding, 1))  # at the end of a row only


@given(st.lists(framed, min_size=1, max_size=40))
def test_packing_leaves_no_two_rows_that_fit_in_one(sequences: list[list[int]]) -> None:
    used = (pack(sequences, 16, PAD, 0) != PAD).sum(1)
    assert (used <= 8).sum() <= 1


# Masking


@pytest.fixture(scope="module")
def many_rows(tokenizer: Tokenizer, lines: list[str]) -> torch.Tensor:
    """About 90,000 ordinary tokens."""
    return torch.as_tensor(pack(encode(tokenizer, lines * 8, 32), 32, PAD, 0), dtype=torch.long)


@pytest.mark.parametrize("whole_words", [False, True])
def test_15_percent_are_predicted_80_10_10(tokenizer: Tokenizer, many_rows: torch.Tensor, whole_words: bool) -> None:
    collator = MaskingCollator(tokenizer, Masking(whole_words=whole_words), seed=3)
    masked, labels = collator.mask(many_rows)
    chosen = labels != IGNORED
    ordinary = ~torch.isin(many_rows, collator.special_ids)
    is_mask, is_kept = masked[chosen] == collator.mask_id, masked[chosen] == many_rows[chosen]
    shares = [(chosen.sum() / ordinary.sum()).item(), is_mask.float().mean().item(), is_kept.float().mean().item()]
    kept = 0.1 + 0.1 / len(collator.ordinary_ids)  # a random token may be the same one
    # Five standard deviations: of 90,000 draws (in whole words, pieces draw together), and of 13,500.
    assert shares[0] == pytest.approx(0.15, abs=0.012 if whole_words else 0.006)
    assert shares[1] == pytest.approx(0.8, abs=0.018)
    assert shares[2] == pytest.approx(kept, abs=0.013)
    assert torch.equal(masked[~chosen], many_rows[~chosen])
    assert torch.equal(labels[chosen], many_rows[chosen])


@pytest.mark.parametrize("whole_words", [False, True])
def test_special_tokens_are_never_hidden_nor_put_in(
    tokenizer: Tokenizer, many_rows: torch.Tensor, whole_words: bool
) -> None:
    everything = Masking(probability=1.0, replaced_by_mask=0.0, replaced_by_random=1.0, whole_words=whole_words)
    collator = MaskingCollator(tokenizer, everything, seed=0)
    masked, labels = collator.mask(many_rows)
    special = torch.isin(many_rows, torch.tensor([tokenizer.token_to_id(token) for token in SPECIAL_TOKENS]))
    assert torch.equal(labels == IGNORED, special)
    assert torch.equal(torch.isin(masked, collator.special_ids), special)


def test_a_word_is_hidden_whole_or_not_at_all(tokenizer: Tokenizer, many_rows: torch.Tensor) -> None:
    collator = MaskingCollator(tokenizer, Masking(probability=0.5, whole_words=True), seed=1)
    chosen = collator.mask(many_rows)[1] != IGNORED
    inside = collator.continues_word[many_rows[:, 1:]]
    assert inside.sum() > 1000
    assert torch.equal(chosen[:, 1:][inside], chosen[:, :-1][inside])


def test_words_are_drawn_one_by_one(tokenizer: Tokenizer, many_rows: torch.Tensor) -> None:
    collator = MaskingCollator(tokenizer, Masking(probability=0.5, whole_words=True), seed=1)
    chosen = collator.mask(many_rows)[1] != IGNORED
    ordinary = ~torch.isin(many_rows, collator.special_ids)
    neighbors = ordinary[:, 1:] & ordinary[:, :-1] & ~collator.continues_word[many_rows[:, 1:]]
    alike = (chosen[:, 1:] == chosen[:, :-1])[neighbors].float().mean()
    assert alike == pytest.approx(0.5, abs=0.02)


def test_a_row_is_masked_anew_each_time_and_held_out_rows_once(tokenizer: Tokenizer, many_rows: torch.Tensor) -> None:
    collator = MaskingCollator(tokenizer, Masking(), seed=5)
    rows = [{"input_ids": row} for row in many_rows[:8].numpy()]
    assert not torch.equal(collator(rows)["labels"], collator(rows)["labels"])
    held_out = masked_once(many_rows[:8].numpy(), collator)
    assert torch.equal(collator(held_out)["labels"], collator(held_out)["labels"])
    assert torch.equal(collator(held_out)["input_ids"], torch.stack([item["input_ids"] for item in held_out]))


def test_whole_words_need_a_vocabulary_that_marks_them() -> None:
    tokenizer = Tokenizer.from_str(
        '{"version":"1.0","added_tokens":[],"model":{"type":"WordLevel","unk_token":"[UNK]","vocab":'
        '{"[PAD]":0,"[UNK]":1,"[CLS]":2,"[SEP]":3,"[MASK]":4,"cat":5}}}'
    )
    with pytest.raises(FinetuneError, match="--whole-words: expected a WordPiece vocabulary"):
        MaskingCollator(tokenizer, Masking(whole_words=True), seed=0)
