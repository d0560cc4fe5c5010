"""Every task and architecture: the compiled graph says what transformers says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from serving.engine import reference
from serving.engine.compile import compiled
from serving.engine.engine import Engine
from serving.engine.heads import ClassificationHead, MaskLogits, SpanHead
from serving.model.checkpoint import Checkpoint
from serving.model.tokenizer import Passage
from serving.settings import Settings

TASKS = ("fill-mask", "text-classification", "question-answering")
ARCHITECTURES = ("bert", "distilbert")
VOCABULARY = 90

Logits = NDArray[np.float32]


def engine(folder: Path, task: str, precision: str = "fp32") -> Engine:
    head = {
        "fill-mask": MaskLogits(VOCABULARY),
        "text-classification": ClassificationHead(),
        "question-answering": SpanHead(),
    }[task]
    return Engine(compiled(folder, precision), head, pad_id=0, settings=Settings(threads=2, batch_tokens=200))


def passages(pairs: bool) -> list[Passage]:
    """Rows of different lengths, more than one batch of them; with pairs, a second segment from a third on."""
    draw = np.random.default_rng(5).integers
    rows = [draw(5, VOCABULARY, n).tolist() for n in (30, 3, 12, 20, 7, 32, 5, 31)]
    return [
        Passage(
            ids, masks=[1, len(ids) // 2], segments=[int(3 * n > len(ids)) for n in range(len(ids))] if pairs else ()
        )
        for ids in rows
    ]


def stacked(result: Logits | tuple[Logits, Logits]) -> Logits:
    return np.stack(result, axis=-1) if isinstance(result, tuple) else result


def oracle(folder: Path, task: str, rows: list[Passage]) -> list[Logits]:
    """Return transformers' logits where the task wants them, row by row and so without padding."""
    auto = {
        "fill-mask": transformers.AutoModelForMaskedLM,
        "text-classification": transformers.AutoModelForSequenceClassification,
        "question-answering": transformers.AutoModelForQuestionAnswering,
    }
    model = auto[task].from_pretrained(folder).eval()
    found = []
    for row in rows:
        types = {"token_type_ids": torch.tensor([list(row.segments)])} if row.segments else {}
        with torch.no_grad():
            output = model(torch.tensor([row.ids]), **types)
        if task == "question-answering":
            found.append(torch.stack([output.start_logits[0], output.end_logits[0]], -1).numpy())
        else:
            found.append(output.logits[0].numpy()[row.masks] if task == "fill-mask" else output.logits[0].numpy())
    return found


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("bert", {"lowercase": True}),
        ("bert", {"lowercase": False, "hidden_act": "gelu_new"}),
        ("bert", {"type_vocab_size": 1}),
        ("distilbert", {}),
        ("distilbert", {"activation": "gelu_new", "sinusoidal_pos_embds": True}),
    ],
    ids=["bert-uncased", "bert-cased", "bert-one-type", "distilbert", "distilbert-sinusoidal"],
)
def test_fp32_logits_equal_transformers_on_ragged_rows(
    make_checkpoint: Callable[..., Path], task: str, architecture: str, config: dict[str, object]
) -> None:
    folder = make_checkpoint(architecture=architecture, task=task, initializer_range=0.2, **config)
    has_pairs = architecture == "bert" and task != "fill-mask" and "type_vocab_size" not in config
    rows = passages(has_pairs)
    expected = oracle(folder, task, rows)
    assert np.ptp(np.stack([row[0] for row in expected]), axis=0).max() > 0.1  # the rows differ
    source = Checkpoint.read(folder)
    for row, ours, theirs in zip(rows, engine(folder, task).run(rows), expected, strict=True):
        np.testing.assert_allclose(stacked(ours), theirs, atol=1e-4)
        hidden = reference.encode(source, np.array(row.ids), row.segments)
        wanted = {"fill-mask": row.masks, "text-classification": 0, "question-answering": slice(None)}[task]
        np.testing.assert_allclose(reference.head(source, hidden[wanted]), theirs, atol=1e-4)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fp16_logits_are_within_1_percent_of_transformers_in_fp32(
    make_checkpoint: Callable[..., Path], architecture: str, task: str
) -> None:
    # On the CPU, which rounds weights and activations to fp16 as the graph says, and computes between in fp32.
    folder = make_checkpoint(architecture=architecture, task=task, initializer_range=0.2)
    rows = passages(pairs=architecture == "bert" and task != "fill-mask")
    expected = oracle(folder, task, rows)
    for ours, theirs in zip(engine(folder, task, "fp16").run(rows), expected, strict=True):
        assert stacked(ours).dtype == np.float32
        assert 0 < np.linalg.norm(stacked(ours) - theirs) < 0.01 * np.linalg.norm(theirs)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batched_equals_single(
    make_checkpoint: Callable[..., Path], architecture: str, task: str, precision: str
) -> None:
    ours = engine(make_checkpoint(architecture=architecture, task=task, initializer_range=0.5), task, precision)
    rows = passages(pairs=architecture == "bert" and task != "fill-mask")
    for row, together in zip(rows, ours.run(rows), strict=True):
        np.testing.assert_allclose(stacked(together), stacked(ours.run([row])[0]), atol=1e-4)


def test_segments_matter_to_a_bert_of_pairs(sharp_classifier: Path) -> None:
    ours = engine(sharp_classifier, "text-classification")
    (with_pairs,), (without,) = (ours.run(passages(pairs)[:1]) for pairs in (True, False))
    assert np.abs(with_pairs - without).max() > 0.01
