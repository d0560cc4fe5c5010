"""What makes no sense is refused before any work, with what was expected, what was found and what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from finetune.pretrain import __main__ as pretrain
from finetune.train.training_log import check_logging


def command(checkpoint: Path, text: Path, output: Path, *more: str) -> list[str]:
    return ["--model", str(checkpoint), "--text", str(text), "--output-dir", str(output), "--max-length", "32", *more]


def last_error(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def change(name: str, value: object) -> Callable[[Path], object]:
    """Return what sets a value of a checkpoint's config.json."""

    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_bytes())
        (folder / "config.json").write_text(json.dumps({**config, name: value}), encoding="utf-8")

    return edit


def without_mask_token(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_bytes())
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["content"] != "[MASK]"]
    del tokenizer["model"]["vocab"]["[MASK]"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")


def larger_vocabulary(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["one", "more"])
    tokenizer.save(str(folder / "tokenizer.json"))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, r"expected config\.json, .*, found no such folder; give the folder of a saved"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), r"found no tokenizer\.json; give"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"found no model\.safetensors; give"),
    "one level up": (lambda f: shutil.copytree(f, f / "model") and (f / "config.json").unlink(), "give .*/model$"),
    "config not JSON": (
        lambda f: (f / "config.json").write_text("{"),
        r"expected a config\.json, found none that can be read",
    ),
    "not a BERT": (change("model_type", "gpt2"), "expected model_type 'bert', found 'gpt2'"),
    "a DistilBERT": (change("model_type", "distilbert"), "expected model_type 'bert', found 'distilbert'"),
    "no positions": (
        change("max_position_embeddings", None),
        "expected a whole number from 8 to 16777216 as max_position_embeddings, found None",
    ),
    "few positions": (
        change("max_position_embeddings", 16),
        r"--max-length 32: expected at most the model's 16 positions",
    ),
    "tokenizer not JSON": (lambda f: (f / "tokenizer.json").write_text("{"), r"tokenizer\.json: expected a tokenizer"),
    "no [MASK]": (without_mask_token, r"expected a BERT vocabulary, found no \[MASK\]"),
    "vocabulary too large": (larger_vocabulary, "expected token ids below config.json's vocab_size 100, found 101"),
    "weights cut short": (lambda f: os.truncate(f / "model.safetensors", 999), "expected the weights that config.json"),
    "weights of another": (
        change("intermediate_size", 128),
        r"expected the weights that config\.json describes, found",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_an_unfit_model_is_named_before_any_work(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    damage, message = DAMAGE[case]
    damage(folder)
    # The text is not there: it would be the error if the model were looked at later.
    assert pretrain.main(command(folder, tmp_path / "none.txt", tmp_path / "out")) == 1
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--mlm-probability 0", "argument --mlm-probability: expected a share above 0 and below 1, found '0'"),
        ("--mlm-probability 1", "expected a share above 0 and below 1"),
        ("--mlm-probability nan", "expected a share above 0 and below 1, found 'nan'"),
        ("--batch-size 0", "argument --batch-size: expected an integer of 1 or more, found '0'"),
        ("--batch-size many", "expected an integer of 1 or more, found 'many'"),
        ("--max-steps -1", "argument --max-steps: expected an integer of 1 or more, found '-1'"),
        ("--warmup-steps -1", "expected an integer of 0 or more"),
        ("--learning-rate 0", "expected a number above 0"),
        ("--learning-rate inf", "expected a number above 0, found 'inf'"),
        ("--dropout 1", "expected a share of 0 or more and below 1"),
        ("--held-out-one-in 1", "expected an integer of 2 or more"),
        ("--max-length 2", "expected an integer of 3 or more"),
        ("--max-length 8 --min-tokens 9", "argument --min-tokens: expected at most --max-length, 8, found 9"),
        ("--seed -1", "expected an integer from 0"),
    ],
)
def test_a_number_without_sense_is_refused(capsys: pytest.CaptureFixture[str], options: str, message: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        pretrain.main(["--model", "m", "--text", "t", "--output-dir", "o", *options.split()])
    assert message in last_error(capsys)


def test_text_without_use_is_an_error_that_counts_it(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "short.txt"
    text.write_text("the cat\nthe dog\n", encoding="utf-8")
    assert pretrain.main(command(checkpoint, text, tmp_path / "out")) == 1
    assert re.search(r"no training text: expected lines of at least 8 tokens, found 2 lines", last_error(capsys))


def test_an_output_folder_that_cannot_be_made_is_named(
    checkpoint: Path, text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain.main(command(checkpoint, text_file, text_file)) == 1
    assert "expected a folder that can be written to, found" in last_error(capsys)


def test_a_log_receiver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(pretrain.FinetuneError, match="--log-to mlflow: expected the package mlflow, found none; pip"):
        check_logging("mlflow")
    check_logging("none")


def test_a_tracking_store_that_does_not_answer_is_named(
    checkpoint: Path,
    text_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://store")
    assert pretrain.main(command(checkpoint, text_file, tmp_path / "out", "--log-to", "mlflow")) == 1
    assert "--log-to mlflow: expected a tracking store that answers at nowhere://store" in capsys.readouterr().err
