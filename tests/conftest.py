"""Tiny real checkpoints, made once a session."""

from __future__ import annotations

import json
import os
import platform
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from serving.engine.machine import cpu_flags
from tests.small_disk import SmallDisk, mounted

# A `make` in a test is a user's, not a part of the `make test` that runs it: that one would announce its folder.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)

# A property holds however busy the machine is.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

CONFIGS = {"bert": transformers.BertConfig, "distilbert": transformers.DistilBertConfig}
SIZES = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
}
ARCHITECTURES = {
    ("bert", "fill-mask"): transformers.BertForMaskedLM,
    ("bert", "text-classification"): transformers.BertForSequenceClassification,
    ("bert", "question-answering"): transformers.BertForQuestionAnswering,
    ("distilbert", "fill-mask"): transformers.DistilBertForMaskedLM,
    ("distilbert", "text-classification"): transformers.DistilBertForSequenceClassification,
    ("distilbert", "question-answering"): transformers.DistilBertForQuestionAnswering,
}

# By pytest, transformers' pipelines, MLflow and Azure's SDK, for themselves.
SET_BY_LIBRARIES = {
    "PYTEST_CURRENT_TEST",
    "TOKENIZERS_PARALLELISM",
    "_MLFLOW_TELEMETRY_SESSION_ID",
    "AZUREML_CURRENT_CLOUD",
}

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


CPU_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2")
"""What decides which int8 kernels run, best first."""


def pytest_report_header() -> str:
    """Say on which CPU the tests run: what is computed in int8, and how fast, depends on it."""
    name = re.search(r"^model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    flags = [flag for flag in CPU_FLAGS if flag in cpu_flags()]
    return f"cpu: {name[1] if name else platform.machine()}; {', '.join(flags) or 'none'} of {', '.join(CPU_FLAGS)}"


def split_words(tokenizer: Tokenizer, lowercase: bool) -> None:
    """Make a tokenizer split text into words as BERT's does."""
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()


def vocabulary(lines: list[str], lowercase: bool) -> dict[str, int]:
    """Return the WordPiece vocabulary of the lines, the same in each run.

    The trainer meets words in another order each time, and numbers the letters inside them as it meets them. Of pairs that
    are equally frequent it takes those of lower numbers first, so the vocabulary differed, and each model that was made for
    it. Here the letters have their numbers beforehand.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    split_words(tokenizer, lowercase)
    texts = map(tokenizer.normalizer.normalize_str, lines)
    words = {word for text in texts for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)}
    inner = sorted({f"##{letter}" for word in words for letter in word[1:]})
    trainer = trainers.WordPieceTrainer(vocab_size=100, special_tokens=[*SPECIAL, *inner], show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    found: dict[str, int] = tokenizer.get_vocab()
    return found


def save_tokenizer(folder: Path, lines: list[str], lowercase: bool) -> int:
    """Write a WordPiece tokenizer of about 100 tokens, trained on the lines; return how many it has."""
    tokenizer = Tokenizer(models.WordPiece(vocabulary(lines, lowercase), unk_token="[UNK]"))
    split_words(tokenizer, lowercase)
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "BertTokenizer", "do_lower_case": lowercase, "model_max_length": 32}
    (folder / "tokenizer_config.json").write_text(json.dumps(described), encoding="utf-8")
    return tokenizer.get_vocab_size()


@pytest.fixture(autouse=True)
def environment_left_as_it_was() -> Iterator[None]:
    """Fail a test that leaves an environment variable set or changed for those after it in the process."""
    before = dict(os.environ)
    yield
    after = dict(os.environ)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    changed -= SET_BY_LIBRARIES
    assert not changed, f"expected the environment as it was, found {sorted(changed)} changed"


@pytest.fixture(scope="session")
def lines() -> list[str]:
    """600 sentences of a small grammar, all different, with numbers that WordPiece splits into several pieces."""
    draw = random.Random(17).choice
    who, how, where = ["cat", "dog", "bird", "mouse"], ["warm", "cold", "red"], ["mat", "roof", "chair", "garden"]
    return [
        f"The {draw(who)} sat on the {draw(how)} {draw(where)} and looked at moon number {n}."
        for n in range(1000, 1600)
    ]


@pytest.fixture(scope="session")
def make_checkpoint(lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make BERTs of two layers, 32 wide, with 32 positions and random weights; keywords go to their config.

    `architecture` is bert or distilbert, `task` names the head. Its biases are random too, so that one left out shows.
    """

    def make(lowercase: bool = True, architecture: str = "bert", task: str = "fill-mask", **config: object) -> Path:
        folder = tmp_path_factory.mktemp("checkpoint") / "tiny-bert"
        folder.mkdir()
        size = save_tokenizer(folder, lines, lowercase)
        torch.manual_seed(17)
        sizes = {"vocab_size": size, "max_position_embeddings": 32}
        model = ARCHITECTURES[architecture, task](CONFIGS[architecture](**{**sizes, **SIZES[architecture], **config}))
        if task != "fill-mask":
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    torch.nn.init.normal_(parameter, std=0.1)
        model.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    """An uncased tiny BERT with the usual small random weights: a place to train from."""
    return make_checkpoint()


@pytest.fixture(scope="session")
def sharp_checkpoint(make_checkpoint: Callable[..., Path]) -> Path:
    """An uncased tiny BERT with large random weights: its answers differ by word and by context."""
    return make_checkpoint(initializer_range=0.5)


@pytest.fixture(scope="session")
def sharp_classifier(make_checkpoint: Callable[..., Path]) -> Path:
    """An uncased tiny classifier of three labels whose answers differ by text."""
    labels = {0: "bad", 1: "so-so", 2: "good"}
    return make_checkpoint(task="text-classification", initializer_range=0.5, id2label=labels)


@pytest.fixture(scope="session")
def sharp_reader(make_checkpoint: Callable[..., Path]) -> Path:
    """An uncased tiny question answerer whose answers differ by question."""
    return make_checkpoint(task="question-answering", initializer_range=0.5)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 8 MB, to fill."""
    with mounted(tmp_path / "disk", 8) as disk:
        yield disk
