"""The GPU is taken where it can be used, and the CPU serves and says so where not; fp16 is right, as far as a CPU can tell.

None of this runs on a GPU. What a test replaces is the answer to "can a GPU be used here?", and nothing else.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.torch import load_file, save_file

import serving.engine.compile
from asset.local.server import local_server
from serving.answering.fill_mask import FillMask
from serving.engine import backend as cuda
from serving.engine import cuda_trial, graph
from serving.engine.backend import Choice, Precision, choose
from serving.engine.compile import compiled, content_hash
from serving.engine.engine import Engine
from serving.engine.heads import MaskHead
from serving.engine.session import open_session, providers
from serving.errors import ModelFolderError
from serving.model.checkpoint import Checkpoint
from serving.settings import Settings
from serving.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = ROOT / "model/embedded"
GPU, CPU_BUILD = None, "the ONNX Runtime installed is the one for CPUs"

KERNELS = {
    *("Add", "Cast", "Concat", "Gather", "GatherElements", "Gelu", "Gemm", "LayerNormalization", "MultiHeadAttention"),
    *("Relu", "Reshape", "Shape", "Slice", "Softmax", "Split", "Tanh", "TopK"),
}
"""Operators that ONNX Runtime has for CUDA in fp16 and fp32, and in int64 where they are of whole numbers (its
docs/OperatorKernels.md). Its MultiHeadAttention for CUDA takes key lengths [rows] too."""


def no_gpu_here() -> None:
    if cuda.unavailable() is None:
        pytest.skip("there is a GPU here")


@pytest.fixture
def config(sharp_checkpoint: Path) -> object:
    return Checkpoint.read(sharp_checkpoint).config


@pytest.mark.parametrize(
    ("device", "precision", "engine", "expected"),
    [
        ("auto", "auto", "auto", Choice("onnxruntime", "fp16", "cuda")),
        ("auto", "fp32", "auto", Choice("onnxruntime", "fp32", "cuda")),
        ("cuda", "auto", "onnxruntime", Choice("onnxruntime", "fp16", "cuda")),
        ("cuda", "fp16", "auto", Choice("onnxruntime", "fp16", "cuda")),
        ("cuda", "int8", "onnxruntime", Choice("onnxruntime", "int8", "cpu")),
        ("auto", "int8", "onnxruntime", Choice("onnxruntime", "int8", "cpu")),
        ("cpu", "fp32", "auto", Choice("onnxruntime", "fp32", "cpu")),
        ("cpu", "fp16", "auto", Choice("onnxruntime", "fp32", "cpu")),
    ],
)
def test_where_a_gpu_can_be_used_it_serves_in_fp16_unless_asked_otherwise(
    device: str, precision: str, engine: str, expected: Choice, config: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "unavailable", lambda: GPU)
    assert choose(precision, engine, config, device) == expected


@pytest.mark.parametrize("device", ["auto", "cuda"])
@pytest.mark.parametrize("precision", ["auto", "fp32", "int8", "fp16"])
def test_where_no_gpu_can_be_used_the_choice_is_that_of_the_cpu(
    device: str, precision: str, config: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "unavailable", lambda: CPU_BUILD)
    assert choose(precision, "auto", config, device) == choose(precision, "auto", config, "cpu")
    assert choose(precision, "auto", config, device).device == "cpu"


@pytest.mark.parametrize(
    ("device", "precision", "engine"), [("cpu", "auto", "auto"), ("auto", "int8", "auto"), ("auto", "int8", "native")]
)
def test_no_gpu_is_looked_for_where_none_would_be_used(
    device: str, precision: str, engine: str, config: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked() -> None:
        raise AssertionError("looked for a GPU")

    monkeypatch.setattr(cuda, "unavailable", looked)
    if engine != "native":
        assert choose(precision, engine, config, device).device == "cpu"
    else:  # the kernels may not be for this CPU, which is another matter
        try:
            choose(precision, engine, config, device)
        except ModelFolderError as exc:
            assert "native kernels cannot be used" in str(exc)


@pytest.mark.parametrize(
    ("device", "precision", "for_gpus", "warnings"),
    [
        ("cuda", "fp32", False, [f"no GPU is used, the CPU serves: {CPU_BUILD}"]),
        ("cuda", "int8", True, ["no GPU is used, the CPU serves: the precision is int8, which is for CPUs"]),
        ("cuda", "fp16", False, [f"no GPU is used, the CPU serves: {CPU_BUILD}", "fp16 is for GPUs"]),
        ("auto", "fp32", True, [f"no GPU is used, the CPU serves: {CPU_BUILD}"]),
        ("auto", "fp32", False, []),
        ("auto", "int8", True, []),
        ("cpu", "fp32", True, []),
        ("cpu", "fp16", True, ["fp16 is for GPUs"]),
    ],
)
def test_a_gpu_that_was_meant_and_is_not_used_is_a_warning(
    device: str,
    precision: str,
    for_gpus: bool,
    warnings: list[str],
    config: object,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(cuda, "unavailable", lambda: CPU_BUILD)
    monkeypatch.setattr(cuda, "is_built_in", lambda: for_gpus)
    choose(precision, "onnxruntime", config, device)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == len(warnings)
    assert all(text.startswith(expected) for text, expected in zip(said, warnings, strict=True))


def test_a_model_that_is_meant_for_a_gpu_answers_without_one(
    sharp_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    no_gpu_here()
    texts = ["The [MASK] sat on the [MASK] mat."]
    found, expected = (
        FillMask.load(sharp_checkpoint, settings=Settings(device=device)).fill(texts) for device in ("cuda", "cpu")
    )
    assert found == expected
    assert caplog.text.count("no GPU is used, the CPU serves: ") == 1


def test_the_server_says_once_that_no_gpu_is_used_and_answers() -> None:
    no_gpu_here()
    settings = {"BERT_SERVING_DEVICE": "cuda"}
    with local_server(EMBEDDED, python=ROOT / ".venv/serving/bin/python", env=settings) as server:
        assert server.post(b'{"input_data": ["Paris is the [MASK] of France."]}').body == b'["capital"]'
        log = server.log.read_text(encoding="utf-8")
    assert log.count("no GPU is used, the CPU serves: ") == 1
    assert "on cpu" in log


def test_looking_for_a_gpu_takes_no_time_and_no_onnx_runtime_where_it_is_the_one_for_cpus() -> None:
    code = (
        "import sys; from serving.engine import backend as cuda; events = []; sys.addaudithook(lambda name, _: events.append(name))\n"
        "reason = cuda.unavailable(); started = {'subprocess.Popen', 'ctypes.dlopen', 'time.sleep'} & {*events}\n"
        "assert cuda.is_built_in() or not started, started\n"
        "assert 'onnxruntime' not in sys.modules; sys.stdout.write(str(reason))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == str(cuda.unavailable())


def test_the_reason_comes_from_a_trial_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    no_gpu_here()
    monkeypatch.setattr(cuda, "is_built_in", lambda: True)
    reason = cuda.unavailable.__wrapped__()
    assert reason == cuda_trial.driver_fault() or reason == cuda_trial.engine_fault("cuda")


def test_a_trial_that_does_not_end_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "is_built_in", lambda: True)
    monkeypatch.setattr(cuda, "TRIAL_SECONDS", 0.001)
    assert "the trial of the GPU did not end" in cuda.unavailable.__wrapped__()


def test_the_trial_accepts_a_device_that_gives_the_cpus_answers() -> None:
    assert cuda_trial.engine_fault("cpu") is None


def test_the_trial_turns_down_a_device_that_gives_others_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    no_gpu_here()
    assert "a small fill-mask model cannot run on the GPU: expected ONNX Runtime" in cuda_trial.engine_fault("cuda")
    monkeypatch.setattr(cuda_trial, "difference", lambda task, device: float("nan"))
    assert (
        cuda_trial.engine_fault("cuda")
        == "a small fill-mask model is off the CPU's answers by nan, expected at most 0.02"
    )


def build(source: Checkpoint, precision: Precision) -> onnx.ModelProto:
    return onnx.load_from_string(b"".join(graph.build(source, precision)))


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("task", ["fill-mask", "text-classification", "question-answering"])
def test_every_operator_in_fp16_has_a_kernel_for_gpus_and_is_part_of_the_trial(
    make_checkpoint: Callable[..., Path], task: str
) -> None:
    tried = set().union(*(operators(build(cuda_trial.sample(kind), "fp16")) for kind in TASKS))
    for architecture in ("bert", "distilbert"):
        checkpoint = Checkpoint.read(make_checkpoint(architecture=architecture, task=task))
        for precision in ("fp16", "fp32"):
            used = operators(build(checkpoint, precision))
            assert used <= KERNELS
            assert used - {"Relu"} <= tried  # DistilBERT's pooler; Tanh's is tried


def test_a_graph_in_fp16_has_halved_weights_and_gives_fp32() -> None:
    source = Checkpoint.read(EMBEDDED)
    halved, whole = (build(source, precision) for precision in ("fp16", "fp32"))
    assert halved.ByteSize() < 0.51 * whole.ByteSize()
    kinds = {weight.data_type for weight in halved.graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64}
    assert list(halved.graph.input) == list(whole.graph.input)
    assert list(halved.graph.output) == list(whole.graph.output)


def test_fp16_finds_fp32s_words_with_almost_their_probabilities(tmp_path: Path) -> None:
    words = (ROOT / "description.md").read_text(encoding="utf-8").split()
    sentences = [words[start : start + 20] for start in range(0, len(words) - 20, 20)]
    rows = [" ".join([*words[:9], "[MASK]", *words[10:]]) for words in sentences]
    fp32 = FillMask.load(EMBEDDED, "fp32", Settings(cache_dir=tmp_path, device="cpu"))
    head = MaskHead(Checkpoint.read(EMBEDDED).config.vocab_size)
    engine = Engine(compiled(EMBEDDED, "fp16", tmp_path), head, fp32.tokenizer.pad_id, Settings())
    fp16 = FillMask(fp32.tokenizer, engine, Settings(), "fp16")
    found, expected = ([row[0][0] for row in model.fill(rows)] for model in (fp16, fp32))
    assert len(expected) >= 20
    assert np.mean([a.token == b.token for a, b in zip(found, expected, strict=True)]) >= 0.95
    for a, b in zip(found, expected, strict=True):
        assert a.score == pytest.approx(b.score, abs=0.01)


def test_weights_too_large_for_fp16_are_refused_with_what_to_do(sharp_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sharp_checkpoint, tmp_path / "large", ignore=shutil.ignore_patterns(".compiled")))
    tensors = load_file(folder / "model.safetensors")
    tensors["bert.encoder.layer.0.output.LayerNorm.weight"] *= 1e6
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelFolderError, match="the fp16 model .* is off the reference by nan, .*; serve it in fp32"):
        compiled(folder, "fp16")


def test_a_graph_for_a_gpu_is_compiled_where_there_is_none(sharp_checkpoint: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving.engine.compile", str(sharp_checkpoint), "--precision", "fp16"]
    done = subprocess.run(
        [*command, "--cache-dir", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == compiled(sharp_checkpoint, "fp16", tmp_path)
    assert Path(done.stdout.strip()).name.startswith("fp16-")


def test_the_package_for_gpus_finds_what_the_one_for_cpus_compiled(
    sharp_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content_hash(sharp_checkpoint, "fp16")

    def only_the_one_for_gpus(name: str) -> str:
        if name == "onnxruntime":
            raise PackageNotFoundError(name)
        return version(name.removesuffix("-gpu"))

    monkeypatch.setattr(serving.engine.compile, "version", only_the_one_for_gpus)
    assert content_hash(sharp_checkpoint, "fp16") == before


def test_a_gpu_is_given_to_onnx_runtime_before_the_cpu_and_computes_fp32_in_fp32() -> None:
    assert providers("cpu") == ["CPUExecutionProvider"]
    assert providers("cuda") == [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]


def test_a_graph_for_a_gpu_never_moves_to_the_cpu_in_silence(sharp_checkpoint: Path) -> None:
    no_gpu_here()
    with pytest.raises(ModelFolderError, match="expected ONNX Runtime"):
        open_session(compiled(sharp_checkpoint, "fp16"), 1, "cuda")
