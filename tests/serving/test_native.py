"""The kernels, for each kind of CPU that this one can stand for."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.answering.fill_mask import FillMask
from serving.engine import reference
from serving.engine.backend import Choice, choose
from serving.engine.compile import compiled
from serving.engine.engine import Engine
from serving.engine.heads import ClassificationHead, MaskHead, MaskLogits, SpanHead
from serving.engine.machine import cpu_flags
from serving.engine.session import open_session
from serving.errors import ModelFolderError
from serving.model.checkpoint import BertConfig, Checkpoint, read_config
from serving.model.tokenizer import Passage
from serving.native import library, weights
from serving.native.session import NativeSession
from serving.native.weights import quantize_columns
from serving.settings import Settings

VOCABULARY = 90

compiler = shutil.which("cc") or shutil.which("gcc")
runnable = [target for target in library.TARGETS if compiler and target.needs <= cpu_flags()]
pytestmark = pytest.mark.skipif(not runnable, reason="this machine has no AVX512-VNNI, or no C compiler")


@pytest.fixture(params=runnable, ids=[target.name for target in runnable])
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[library.Target]:
    """Let the kernels of one target be those of this machine."""
    monkeypatch.setattr(library, "TARGETS", (request.param,))
    library.load.cache_clear()
    yield request.param
    library.load.cache_clear()


def config(**changes: object) -> BertConfig:
    sizes = {"vocab_size": 100, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "intermediate_size": 64}
    rest = {"max_positions": 32, "type_vocab_size": 2, "layer_norm_eps": 1e-12}
    return BertConfig(**{**sizes, **rest, "activation": "gelu", "pooler_activation": "tanh", **changes})


def rows() -> list[Passage]:
    """Rows of different lengths, with masks at either end, in no order, and one asked for more often than there are tokens."""
    draw = np.random.default_rng(3).integers
    lengths = (32, 3, 12, 17, 7, 31, 1, 16)
    masks = ([5, 1], [1], [0, 11], [4, 5, 6], [6], [30, 30, 0], [0] * 40, [15])
    return [
        Passage(draw(5, VOCABULARY, n).tolist(), m, targets=[7, 8], top_k=3)
        for n, m in zip(lengths, masks, strict=True)
    ]


def engine(folder: Path, head: Callable[[int], object] = MaskLogits, threads: int = 2) -> Engine:
    content = compiled(folder, "int8", backend="native")
    return Engine(content, head(read_config(folder)["vocab_size"]), pad_id=0, settings=Settings(threads=threads))


@pytest.mark.parametrize("task", ["fill-mask", "text-classification", "question-answering"])
@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
@pytest.mark.parametrize("spread", [0.02, 0.5])
def test_every_task_is_as_near_the_reference_as_on_onnx_runtime(
    target: library.Target, make_checkpoint: Callable[..., Path], task: str, architecture: str, spread: float
) -> None:
    folder = make_checkpoint(task=task, architecture=architecture, initializer_range=spread)
    source = Checkpoint.read(folder)
    native, graph = (compiled(folder, "int8", backend=backend) for backend in ("native", "onnxruntime"))
    assert error(source, native) < 1.5 * error(source, graph) + 0.01


def error(source: Checkpoint, content: Path) -> float:
    """Return how far an int8 model's logits are from the reference's, over many rows, relative to their norm."""
    draw = np.random.default_rng(11).integers
    passages = [Passage(draw(5, VOCABULARY, n).tolist(), [n // 2]) for n in range(2, 32)]
    head = {
        "fill-mask": MaskLogits(VOCABULARY),
        "text-classification": ClassificationHead(),
        "question-answering": SpanHead(),
    }[source.task]
    results = Engine(content, head, pad_id=0, settings=Settings(threads=2)).run(passages)
    found = [np.stack(result, axis=-1) if isinstance(result, tuple) else result.reshape(1, -1) for result in results]
    wanted = {"fill-mask": lambda n: [n // 2], "text-classification": lambda n: [0]}.get(
        source.task, lambda n: list(range(n))
    )
    expected = [
        reference.head(source, reference.encode(source, np.array(row.ids))[wanted(len(row.ids))]) for row in passages
    ]
    scale = np.linalg.norm(np.concatenate(expected) - np.concatenate(expected).mean(0))
    return float(np.linalg.norm(np.concatenate(found) - np.concatenate(expected)) / scale)


def test_a_row_is_answered_the_same_alone_and_in_a_batch(target: library.Target, sharp_checkpoint: Path) -> None:
    of_batch = engine(sharp_checkpoint)
    together = of_batch.run(rows())
    for row, found in zip(rows(), together, strict=True):
        assert np.array_equal(of_batch.run([row])[0], found)


def test_the_number_of_threads_changes_no_answer(target: library.Target, sharp_checkpoint: Path) -> None:
    alone = engine(sharp_checkpoint, threads=1).run(rows())
    for threads in (2, 5):
        for expected, found in zip(alone, engine(sharp_checkpoint, threads=threads).run(rows()), strict=True):
            assert np.array_equal(expected, found)


def test_the_best_words_and_targets_are_those_of_the_logits(target: library.Target, sharp_checkpoint: Path) -> None:
    scores = engine(sharp_checkpoint, MaskHead).run(rows())
    for of_row, logits in zip(scores, engine(sharp_checkpoint).run(rows()), strict=True):
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        for found, expected in zip(of_row, shares, strict=True):
            assert found.tokens == np.argsort(-expected, kind="stable")[:3].tolist()
            np.testing.assert_allclose(found.scores, expected[found.tokens], rtol=1e-5)
            np.testing.assert_allclose(found.target_scores, expected[[7, 8]], rtol=1e-5)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 31, 33, 64, 257, 512])
def test_rows_of_any_length_are_computed(target: library.Target, length: int) -> None:
    source = random_checkpoint(config(max_positions=512, hidden_size=96, num_heads=2, intermediate_size=160))
    session = NativeSession(b"".join(weights.pack(source)), threads=2)
    ids = np.random.default_rng(length).integers(0, 100, (1, length))
    expected = reference.head(source, reference.encode(source, ids[0])[-1:])
    found = run_logits(session, ids, length - 1)
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)


def random_checkpoint(of: BertConfig) -> Checkpoint:
    from serving.model.checkpoint import expected_shapes

    draw = np.random.default_rng(1).normal
    return Checkpoint(of, {name: draw(0, 0.2, size).astype(np.float32) for name, size in expected_shapes(of).items()})


def run_logits(session: NativeSession, ids: NDArray[np.int64], mask: int, **changes: object) -> NDArray[np.float32]:
    feeds = {
        "input_ids": ids,
        "lengths": np.array([ids.shape[1]], np.int32),
        "segments": np.zeros_like(ids),
        "positions": np.array([[mask]]),
        "selected": np.array([0]),
        "k": np.array([1]),
        "targets": np.zeros((1, 0), np.int64),
    }
    return session.run(["logits"], {**feeds, **changes})[0]


def test_what_lies_outside_the_tables_is_refused(target: library.Target) -> None:
    session = NativeSession(b"".join(weights.pack(random_checkpoint(config()))), threads=1)
    with pytest.raises(ValueError, match="expected each token id to be below 100, found 100"):
        run_logits(session, np.array([[1, 100]]), 0)
    with pytest.raises(ValueError, match="expected each length to be below 33, found 40"):
        run_logits(session, np.ones((1, 40), np.int64), 0)
    with pytest.raises(ValueError, match="expected each token type to be below 2, found 2"):
        run_logits(session, np.array([[1, 2]]), 0, segments=np.array([[0, 2]]))


def test_a_fork_opens_an_engine_of_its_own(target: library.Target, sharp_checkpoint: Path) -> None:
    model = FillMask.load(sharp_checkpoint, "int8")
    expected = model.fill(["The [MASK] sat."])[0][0][0].token_str
    with multiprocessing.get_context("fork").Pool(1) as pool:
        found = pool.apply_async(best_word, [sharp_checkpoint]).get(timeout=30)
    assert found == expected == model.fill(["The [MASK] sat."])[0][0][0].token_str


def best_word(folder: Path) -> str:
    return FillMask.load(folder, "int8").fill(["The [MASK] sat."])[0][0][0].token_str


@pytest.mark.parametrize(("hidden_act", "exact"), [("none", math.erf), ("tanh", math.tanh)])
def test_the_gate_is_gelus(hidden_act: str, exact: Callable[[float], float]) -> None:
    *terms, limit = weights.GATES[hidden_act]
    x = np.linspace(-8, 8, 4001)
    y = np.clip(x, -limit, limit)
    found = x * (0.5 + sum(term * y ** (2 * power + 1) for power, term in enumerate(terms)))
    inner = x / math.sqrt(2) if hidden_act == "none" else math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    assert np.abs(found - x * (1 + np.vectorize(exact)(inner)) / 2).max() < 1e-3


def test_packed_weights_are_the_quantized_ones() -> None:
    source = random_checkpoint(config(vocab_size=70))
    packed = weights.Packed(b"".join(weights.pack(source)))
    name = "encoder.layer.1.intermediate.dense"
    quantized, scales = quantize_columns(source.weights[f"{name}.weight"].T)
    panels = packed.arrays[f"{name}.weights"].transpose(0, 2, 4, 1, 3, 5).reshape(64, 64)
    assert np.array_equal(panels[:, :32], quantized.T)
    assert not panels[:, 32:].any()
    assert np.array_equal(packed.arrays[f"{name}.scales"], scales)
    assert packed.config == source.config


def test_a_file_that_is_cut_short_says_what_to_do(checkpoint: Path, tmp_path: Path) -> None:
    kept = compiled(checkpoint, "int8", tmp_path, "native")
    kept.write_bytes(kept.read_bytes()[:-5000])
    with pytest.raises(
        ModelFolderError, match=f"the packed model cannot be read: .*; delete {kept} to compile the model anew"
    ):
        open_session(kept, threads=1)


def test_without_a_compiler_onnx_runtime_serves_and_says_why(
    target: library.Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(library, "SOURCE", copied_source(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    caplog.set_level(logging.INFO)
    assert choose("int8", "auto", config()) == Choice("onnxruntime", "int8")
    assert "there is no C compiler to build the kernels with; install gcc" in caplog.text
    with pytest.raises(ModelFolderError, match="no C compiler .*; set BERT_SERVING_ENGINE to auto"):
        choose("int8", "native", config())


def copied_source(folder: Path) -> Path:
    copy = folder / "native"
    copy.mkdir()
    for path in [*library.SOURCE.glob("*.c"), *library.SOURCE.glob("*.h")]:
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def test_the_command_builds_for_every_kind_of_cpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(library, "SOURCE", copied_source(tmp_path))
    assert library.main() == 0
    assert [Path(line).name[:4] for line in capsys.readouterr().out.splitlines()] == ["amx-", "vnni"]
    assert len(list((tmp_path / "native" / ".built").iterdir())) == 2
    (tmp_path / "native" / "bert.c").write_text("#error\n", encoding="utf-8")
    assert library.main() == 1
    assert "cannot build the amx kernels" in capsys.readouterr().err


def test_a_compiler_that_fails_is_quoted(
    target: library.Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = copied_source(tmp_path)
    (source / "bert.c").write_text("#error too old\n", encoding="utf-8")
    monkeypatch.setattr(library, "SOURCE", source)
    with pytest.raises(library.NotAvailable, match=f"cannot build the {target.name} kernels: .*too old"):
        library.load()
    assert not list((source / ".built").iterdir())


def test_a_library_that_others_can_write_is_not_loaded(
    target: library.Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(library, "SOURCE", copied_source(tmp_path))
    built = library.built(target)
    honest = built.read_bytes()
    built.write_bytes(b"not ours")
    built.chmod(0o666)
    assert library.built(target) == built
    assert built.read_bytes()[:4] == honest[:4] == b"\x7fELF"
    assert not os.stat(built).st_mode & 0o022


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_size": 40}, "its hidden size 40 is not a multiple of 32"),
        ({"intermediate_size": 100}, "its intermediate size 100 is not a multiple of 32"),
        ({"hidden_size": 96, "num_heads": 8}, None),
        ({"hidden_size": 96, "num_heads": 12}, None),
        ({"hidden_size": 96, "num_heads": 6, "intermediate_size": 32}, None),
    ],
)
def test_models_that_do_not_fill_panels_are_left_to_onnx_runtime(changes: dict[str, int], reason: str | None) -> None:
    assert weights.unsuitable(config(**changes)) == reason


def test_fp32_is_left_to_onnx_runtime() -> None:
    assert choose("fp32", "auto", config()) == Choice("onnxruntime", "fp32")
    with pytest.raises(ModelFolderError, match="they are for int8, and the precision is fp32"):
        choose("fp32", "native", config())
