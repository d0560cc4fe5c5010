"""The compiled graph says what transformers says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM

from serving.answering.fill_mask import FillMask
from serving.engine import reference
from serving.engine.compile import compiled
from serving.engine.engine import Engine
from serving.engine.heads import Head, MaskHead, MaskLogits
from serving.engine.session import open_session
from serving.model.checkpoint import Checkpoint, read_config
from serving.model.tokenizer import Passage
from serving.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = ROOT / "model" / "embedded"
MICROSOFT = "com.microsoft"

Result = TypeVar("Result")


def engine(
    folder: Path,
    precision: str,
    cache_dir: Path | None = None,
    head: Callable[[int], Head[Result]] = MaskLogits,
) -> Engine[Result]:
    graph = compiled(folder, precision, cache_dir)
    return Engine(graph, head(read_config(folder)["vocab_size"]), pad_id=0, settings=Settings(threads=2))


def ragged(vocab_size: int, longest: int = 30) -> list[Passage]:
    """Rows of different lengths with one to three masks each, at either end and in the middle."""
    draw = np.random.default_rng(3).integers
    lengths = (longest, 3, 12, 20, 7, longest)
    masks = ([5], [1], [0, 11], [4, 5, 6], [6], [1, longest // 2, longest - 1])
    return [Passage(draw(5, vocab_size, n).tolist(), m) for n, m in zip(lengths, masks, strict=True)]


def oracle(folder: Path, passages: list[Passage]) -> list[NDArray[np.float32]]:
    """Return transformers' logits at the masks, row by row and so without padding."""
    model = BertForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return [model(torch.tensor([p.ids])).logits[0].numpy()[p.masks] for p in passages]


def rewritten(folder: Path, to: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Path:
    """Copy a checkpoint with its tensors changed."""
    to.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (to / name).write_bytes((folder / name).read_bytes())
    save_file(change(load_file(folder / "model.safetensors")), to / "model.safetensors")
    return to


@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
def test_fp32_logits_equal_transformers_on_ragged_rows(make_checkpoint: Callable[..., Path], activation: str) -> None:
    folder = make_checkpoint(initializer_range=0.2, hidden_act=activation)
    passages = ragged(read_config(folder)["vocab_size"])
    found = engine(folder, "fp32").run(passages)
    for ours, theirs in zip(found, oracle(folder, passages), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_fp32_logits_of_the_embedded_model_equal_transformers(tmp_path: Path) -> None:
    passages = ragged(30522, longest=200)
    found = engine(EMBEDDED, "fp32", tmp_path).run(passages)
    for ours, theirs in zip(found, oracle(EMBEDDED, passages), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_scores_are_the_softmax_of_the_logits(sharp_checkpoint: Path) -> None:
    passages = [Passage(p.ids, p.masks, (7, 9), top_k=4) for p in ragged(90)]
    scored = engine(sharp_checkpoint, "fp32", head=MaskHead).run(passages)
    for scores, logits in zip(scored, engine(sharp_checkpoint, "fp32").run(passages), strict=True):
        chances = np.exp(logits - logits.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        for found, expected in zip(scores, chances, strict=True):
            assert found.tokens == np.argsort(-expected)[:4].tolist()
            np.testing.assert_allclose(found.scores, np.sort(expected)[::-1][:4], atol=1e-6)
            np.testing.assert_allclose(found.target_scores, expected[[7, 9]], atol=1e-6)


def test_passages_of_a_batch_get_the_candidates_and_targets_that_each_asked_for(sharp_checkpoint: Path) -> None:
    ours = engine(sharp_checkpoint, "fp32", head=MaskHead)
    asked = [((), 1), ((7,), 1000), ((), 3), ((9, 7), 2), ((), 1), ((5,), 90)]
    passages = [Passage(p.ids, p.masks, *a) for p, a in zip(ragged(90), asked, strict=True)]
    for passage, scores in zip(passages, ours.run(passages), strict=True):
        alone = ours.run([passage])[0]
        assert [s.tokens for s in scores] == [s.tokens for s in alone]
        for together, single in zip(scores, alone, strict=True):
            assert len(together.tokens) == min(passage.top_k, read_config(sharp_checkpoint)["vocab_size"])
            np.testing.assert_allclose(together.scores, single.scores, atol=1e-6)
            np.testing.assert_allclose(together.target_scores, single.target_scores, atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_batched_equals_single_on_ragged_rows(sharp_checkpoint: Path, precision: str) -> None:
    ours = engine(sharp_checkpoint, precision)
    passages = ragged(90)
    alone = [ours.run([passage])[0] for passage in passages]
    for together, single in zip(ours.run(passages), alone, strict=True):
        np.testing.assert_allclose(together, single, atol=1e-4)


def test_int8_finds_the_same_best_word_as_fp32_where_fp32_is_clear(tmp_path: Path) -> None:
    words = (ROOT / "description.md").read_text(encoding="utf-8").split()
    sentences = [words[start : start + 20] for start in range(0, len(words) - 20, 5)]
    texts = [" ".join([*words[:9], "[MASK]", *words[10:]]) for words in sentences]
    settings = Settings(cache_dir=tmp_path)
    fp32, int8 = (FillMask.load(EMBEDDED, precision, settings).fill(texts, top_k=2) for precision in ("fp32", "int8"))
    clear = [(a[0], b[0]) for a, b in zip(fp32, int8, strict=True) if a[0][0].score - a[0][1].score >= 0.02]
    assert len(clear) >= 100
    assert np.mean([a[0].token == b[0].token for a, b in clear]) >= 0.97


def test_int8_products_are_exact_on_every_cpu() -> None:
    # Two products of the largest numbers are more than 16 bits hold.
    data, weight = np.full((3, 64), 255, np.uint8), np.full((64, 32), 127, np.int8)
    weight[:, ::2] = -127
    arrays = {"weight": weight, "one": np.array(1, np.float32), "128": np.array(128, np.uint8)}
    graph = helper.make_graph(
        [
            helper.make_node(
                "MatMulIntegerToFloat", ["data", "weight", "one", "one", "128"], ["product"], domain=MICROSOFT
            )
        ],
        "product",
        [helper.make_tensor_value_info("data", TensorProto.UINT8, data.shape)],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, [3, 32])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    [product] = open_session(model.SerializeToString(), threads=1).run(["product"], {"data": data})
    np.testing.assert_array_equal(product, (data.astype(int) - 128) @ weight.astype(int))


def google_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """LayerNorm gamma and beta, the bias under the head's own name, a next-sentence head and a pooler beside it."""
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    return renamed | {
        "cls.seq_relationship.weight": torch.zeros(2, 32),
        "bert.pooler.dense.weight": torch.zeros(32, 32),
        "bert.embeddings.position_ids": torch.arange(32)[None],
    }


def without_prefix(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("bert."): tensor for name, tensor in google_names(tensors).items()}


def decoder_stored_twice(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    words, bias = tensors["bert.embeddings.word_embeddings.weight"], tensors.pop("cls.predictions.bias")
    return tensors | {"cls.predictions.decoder.weight": words.clone(), "cls.predictions.decoder.bias": bias}


@pytest.mark.parametrize("naming", [google_names, without_prefix, decoder_stored_twice])
def test_every_naming_of_a_checkpoint_gives_equal_logits(
    sharp_checkpoint: Path, tmp_path: Path, naming: Callable[..., dict[str, torch.Tensor]]
) -> None:
    folder = rewritten(sharp_checkpoint, tmp_path / "renamed", naming)
    passages = ragged(90)
    before, after = (engine(f, "fp32").run(passages) for f in (sharp_checkpoint, folder))
    for ours, theirs in zip(after, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_untied_decoder_is_used(sharp_checkpoint: Path, tmp_path: Path) -> None:
    def untie(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        shape = tensors["bert.embeddings.word_embeddings.weight"].shape
        return tensors | {"cls.predictions.decoder.weight": torch.zeros(shape)}

    logits = engine(rewritten(sharp_checkpoint, tmp_path / "untied", untie), "fp32").run(ragged(90))
    bias = Checkpoint.read(sharp_checkpoint).weights["cls.predictions.bias"]
    np.testing.assert_allclose(logits[0], bias[None], atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_checkpoints_are_read(sharp_checkpoint: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    halved = rewritten(sharp_checkpoint, tmp_path / "half", lambda t: {k: v.to(dtype) for k, v in t.items()})
    passages = ragged(90)
    for ours, theirs in zip(engine(halved, "fp32").run(passages), oracle(halved, passages), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_numpy_reference_equals_transformers(sharp_checkpoint: Path) -> None:
    passage = ragged(90)[0]
    source = Checkpoint.read(sharp_checkpoint)
    found = reference.head(source, reference.encode(source, np.array(passage.ids))[passage.masks])
    np.testing.assert_allclose(found, oracle(sharp_checkpoint, [passage])[0], atol=1e-4)


def test_int8_survives_activations_that_are_all_zero(sharp_checkpoint: Path, tmp_path: Path) -> None:
    def silence(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        quiet = ("embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias")
        return {name: torch.zeros_like(t) if name.endswith(quiet) else t for name, t in tensors.items()}

    logits = engine(rewritten(sharp_checkpoint, tmp_path / "silent", silence), "int8").run(ragged(90))
    assert np.isfinite(np.concatenate(logits)).all()


def test_a_tied_decoder_is_stored_once(sharp_checkpoint: Path) -> None:
    config = json.loads((sharp_checkpoint / "config.json").read_text())
    words = config["vocab_size"] * config["hidden_size"] * 4
    untied = sum(tensor.nbytes for tensor in Checkpoint.read(sharp_checkpoint).weights.values())
    kept = compiled(sharp_checkpoint, "fp32")
    assert isinstance(kept, Path)
    assert kept.stat().st_size < untied - words + 20_000
