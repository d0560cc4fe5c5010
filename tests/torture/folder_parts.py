"""Damage the other parts of a model folder: config.json, tokenizer.json, MLmodel, links, and files of other kinds."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.torture.mutations import mutated
from tests.torture.weights_bytes import GB, NAME

Damage = Callable[[Path, random.Random], None]

SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
SIZES += ("max_position_embeddings", "type_vocab_size")
ODD: tuple[Any, ...] = (0, -1, 1, 2, 3, 10**9, 2**24 - 1, 2**31, 2**63, 10**30, 1.5, 1e308, float("nan"), float("inf"))
ODD += (None, True, "32", "x" * 1_000_000, [], [32], {}, {"a": 1}, "\ud800", "\x00")


def config_sizes(folder: Path, draw: random.Random) -> None:
    """Give sizes absurd values, of any type."""
    _change(folder, {name: draw.choice(ODD) for name in draw.sample(SIZES, draw.choice([1, 1, 2]))})


def config_values(folder: Path, draw: random.Random) -> None:
    """Give what names a kind absurd values."""
    names = ("architectures", "model_type", "hidden_act", "layer_norm_eps", "position_embedding_type", "is_decoder")
    names += ("id2label", "num_labels", "problem_type", "model_name", "dim", "n_layers")
    odd = [
        *ODD,
        ["BertModel"],
        [[1]],
        ["BertForMaskedLM", 1],
        [{}],
        "distilbert",
        "roberta",
        "relu",
        -1e-12,
        "regression",
    ]
    odd += ["multi_label_classification", "name\r\nx-injected: 1", "n" * 100_000, "gelu_new", 1e-45, 1e38]
    changes = {name: draw.choice(odd) for name in draw.sample(names, draw.choice([1, 1, 2]))}
    _change(folder, changes, without=draw.sample(names, draw.choice([0, 0, 1])))


def config_labels(folder: Path, draw: random.Random) -> None:
    """Give labels that are none, or absurdly many or long."""
    odd: list[Any] = [{"0": "a"}, {"1": "a"}, {str(n): "a" for n in range(100_000)}, {"0": "x" * 10_000_000}]
    odd += [
        {"0": None, "1": [], "2": {}},
        {"0": "a", "1": "a", "2": "a"},
        {"0": "\ud800", "1": "\x00", "2": ""},
        [1, 2, 3],
    ]
    _change(folder, {"id2label": draw.choice([*odd, None]), "num_labels": draw.choice([3, 10**12, -1, 0, "3"])})


def config_bytes(folder: Path, draw: random.Random) -> None:
    """Change its bytes, or make it deep, huge, of another type or empty."""
    path = folder / "config.json"
    content = path.read_bytes()
    if draw.random() < 0.7:
        path.write_bytes(mutated(content, draw))
        return
    texts = [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[]",
        b"",
        b"\x00" * 100,
        b"null",
        b'{"vocab_size": ' + b"9" * 5000 + b"}",
    ]
    path.write_bytes(draw.choice([*texts, content.decode().encode("utf-16")]))
    if draw.random() < 0.2:
        os.truncate(path, draw.choice([5, 50]) * GB)


def tokenizer_bytes(folder: Path, draw: random.Random) -> None:
    """Change its bytes, or make it huge."""
    path = folder / "tokenizer.json"
    content = path.read_bytes()
    path.write_bytes(draw.choice([mutated(content, draw), mutated(content, draw), b"[" * 100_000, b"{}", b"null", b""]))
    if draw.random() < 0.15:
        os.truncate(path, draw.choice([5, 50]) * GB)


def tokenizer_tables(folder: Path, draw: random.Random) -> None:
    """Give its tables absurd values, or parts that a BERT's tokenizer has not."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_bytes())
    vocabulary = tokenizer["model"]["vocab"]
    changes: list[Callable[[], object]] = [
        lambda: vocabulary.update(extra=draw.choice([2**31, 2**32, -1, 1.5, "7", len(vocabulary), 7])),
        lambda: vocabulary.update({"x" * 5_000_000: 6}),
        lambda: vocabulary.update({f"w{n}": n for n in range(300_000)}),
        lambda: vocabulary.pop(draw.choice(["[MASK]", "[PAD]", "[UNK]", "[CLS]", "the"])),
        lambda: tokenizer["model"].update(unk_token=draw.choice(["none", None, 7, ""])),
        lambda: tokenizer["model"].update(max_input_chars_per_word=draw.choice([0, -1, 2**63, 10**9])),
        lambda: tokenizer["model"].update(continuing_subword_prefix=draw.choice(["", "#" * 10_000, None])),
        lambda: tokenizer["model"].update(type=draw.choice(["BPE", "Unigram", "WordLevel", "Pickle", None])),
        lambda: tokenizer.update(truncation={"max_length": draw.choice([0, 1, 2**63]), "strategy": "LongestFirst"}),
        lambda: tokenizer.update(padding={"strategy": {"Fixed": draw.choice([0, 10**12])}, "pad_id": 0}),
        lambda: tokenizer.update(normalizer=_normalizer(draw)),
        lambda: tokenizer.update(pre_tokenizer=_pre_tokenizer(draw)),
        lambda: tokenizer.update(added_tokens=_added(draw)),
        lambda: tokenizer.update(post_processor={"type": "TemplateProcessing", "single": [], "pair": []}),
        lambda: tokenizer.update(decoder={"type": "ByteLevel"}),
        lambda: tokenizer["model"].update(vocab=draw.choice([{}, [], {"[PAD]": 0}, None])),
    ]
    for change in draw.sample(changes, draw.choice([1, 1, 2])):
        change()
    path.write_text(json.dumps(tokenizer), encoding="utf-8")


def _normalizer(draw: random.Random) -> Any:  # noqa: ANN401 - JSON
    greedy = {
        "type": "Replace",
        "pattern": {"Regex": draw.choice(["(a+)+$", "(.*)*x", "(", "^", "", "\\s*"])},
        "content": "b",
    }
    longer = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa" * draw.choice([1, 1000])}
    nothing = {"type": "Replace", "pattern": {"Regex": "."}, "content": ""}
    many = {"type": "Sequence", "normalizers": [longer] * draw.choice([1, 3])}
    return draw.choice(
        [None, greedy, longer, nothing, many, {"type": "Prepend", "prepend": "[MASK]"}, {"type": "Precompiled"}]
    )


def _pre_tokenizer(draw: random.Random) -> Any:  # noqa: ANN401 - JSON
    split = {
        "type": "Split",
        "pattern": {"Regex": draw.choice(["", "(a+)+$", "."])},
        "behavior": "Isolated",
        "invert": True,
    }
    return draw.choice(
        [None, split, {"type": "ByteLevel"}, {"type": "Metaspace"}, {"type": "Sequence", "pretokenizers": []}]
    )


def _added(draw: random.Random) -> Any:  # noqa: ANN401 - JSON
    flags = {"single_word": False, "lstrip": True, "rstrip": True, "normalized": True, "special": True}
    contents = ["", " ", "a", "[MASK]", "\x00", "x" * 1_000_000]
    ids = [0, 4, 7, 2**32 - 1, 2**31, 10**12, -1]
    return [{"id": draw.choice(ids), "content": draw.choice(contents), **flags} for _ in range(draw.choice([1, 3]))]


def mlmodel(folder: Path, draw: random.Random) -> None:
    """Put an MLmodel beside it that says another task, or nothing that can be read; config.json leaves it open."""
    texts = [b"  task: fill-mask\n", b"  task: token-classification\n", b"  task_type: " + b"a" * 1_000_000]
    texts += [b"\xff\xfe\x00", b"flavors: {" * 50_000, b"  task: '"]
    _change(folder, {}, without=["architectures"])
    (folder / "MLmodel").write_bytes(draw.choice(texts))
    if draw.random() < 0.2:
        os.truncate(folder / "MLmodel", draw.choice([5, 50]) * GB)


def links(folder: Path, draw: random.Random) -> None:
    """Put links in its files' places: out of the folder, in circles, to devices, pipes and folders."""
    name = draw.choice(["config.json", "tokenizer.json", NAME])
    path = folder / name
    targets = [
        path,
        "/etc/passwd",
        "/dev/zero",
        "/dev/null",
        "/proc/self/mem",
        "/proc/kmsg",
        folder,
        "missing",
        "/etc/shadow",
    ]
    path.unlink()
    if draw.random() < 0.15:
        os.mkfifo(path)
    elif draw.random() < 0.15:
        path.mkdir()
    else:
        path.symlink_to(draw.choice(targets))


def circles(folder: Path, draw: random.Random) -> None:
    """Put the model below folders that lead back to themselves."""
    inner = folder / "a" / draw.choice(["b", "data", "\udcff", "n\nl", "x" * 200])
    files = list(folder.iterdir())
    inner.mkdir(parents=True)
    for file in files:
        shutil.move(file, inner / file.name)
    for place in (folder, folder / "a"):
        with contextlib.suppress(FileExistsError):
            (place / draw.choice(["loop", "z", ".hidden"])).symlink_to(draw.choice([folder, "..", "."]))


def pickles(folder: Path, draw: random.Random) -> None:
    """Put pickles in the weights' place, or beside them, that would leave a file if they were opened."""
    canary = f"open({str(folder / 'canary')!r}, 'w')"
    content = b"cbuiltins\neval\n(S" + repr(canary).encode() + b"\ntR."
    names = ["pytorch_model.bin", "model.pkl", "tokenizer.json", "config.json", NAME, "training_args.bin"]
    (folder / draw.choice(names)).write_bytes(draw.choice([content, pickle.dumps({"a": 1}), b"PK\x03\x04" + content]))
    if draw.random() < 0.5:
        (folder / NAME).unlink()


def missing(folder: Path, draw: random.Random) -> None:
    """Take files away, or double the model."""
    if draw.random() < 0.3:
        shutil.copytree(folder, folder.parent / "twice" / "one")
        shutil.move(folder.parent / "twice", folder / "model")
        (folder / "config.json").unlink()
        shutil.copytree(folder / "model" / "one", folder / "model" / "two")
        return
    for name in draw.sample(["config.json", "tokenizer.json", NAME], draw.choice([1, 2])):
        (folder / name).unlink()


def named(folder: Path, draw: random.Random) -> None:
    """Leave the model as it is: the folder's name alone is odd, which an answer's header has."""
    _change(folder, {"model_name": draw.choice([None, "", " ", "é", "a\nb", "x" * 5000, 7])})


def _change(folder: Path, values: dict[str, Any], without: list[str] | tuple[str, ...] = ()) -> None:
    config = json.loads((folder / "config.json").read_bytes()) | values
    config = {name: value for name, value in config.items() if name not in without}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


DAMAGES: tuple[Damage, ...] = (
    *(config_sizes, config_sizes, config_values, config_values, config_labels, config_bytes, tokenizer_bytes),
    *(tokenizer_tables, tokenizer_tables, tokenizer_tables, mlmodel, links, circles, pickles, missing, named),
)
