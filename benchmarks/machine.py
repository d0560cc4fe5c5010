"""The machine: its description for the report, the work of other processes on it, and its ceiling.

The ceiling is the best rate of a large int8 product and of reading memory; a batch's floor is its least time at these
rates. A multiply-add counts as 2 operations. Every rate is the best of several runs.
"""

from __future__ import annotations

import contextlib
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.inputs import Batch
from benchmarks.workers import ROOT

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
PACKAGES = ("torch", "transformers", "onnxruntime", "openvino", "nncf", "mlflow", "litserve")


def describe(threads: int, cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """Return the CPU with the instructions that matter here, threads, versions, commit and date."""
    facts = dict(
        (part.strip() for part in line.split(":", 1))
        for line in cpuinfo.read_text(encoding="utf-8").split("\n\n")[0].split("\n")
        if ":" in line
    )
    flags = set(facts.get("flags", "").split())
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "cpu": facts.get("model name", platform.processor() or "unknown"),
        "instructions": [flag for flag in FLAGS if flag in flags],
        "threads": threads,
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "server": _pinned("bench-azureml", "azureml-inference-server-http"),
        "commit": commit.stdout.strip() or "unknown",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


class OtherWork:
    """The CPU time that other processes used while the benchmark ran, which makes its figures unreliable."""

    def __init__(self) -> None:
        """Start counting."""
        self._start = self._counted()

    def share(self) -> float:
        """Return the share, from 0 to 1, of the CPU time since the start that other processes used."""
        passed, busy, own = (now - then for now, then in zip(self._counted(), self._start, strict=True))
        return min(1.0, max(0.0, busy - own) / passed) if passed else 0.0

    def _counted(self) -> tuple[float, float, float]:
        """Return the seconds of all CPUs: in total, busy, and used by this process and its descendants."""
        import psutil

        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        own = 0.0
        me = psutil.Process()
        for process in (me, *me.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                used = process.cpu_times()
                own += used.user + used.system + used.children_user + used.children_system
        whole = sum(times) - times.guest - times.guest_nice
        return whole, whole - idle, own


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _pinned(environment: str, package: str) -> str:
    """Return the pinned version of a package in an environment."""
    pins = (ROOT / f"environment/{environment}/requirements.txt").read_text(encoding="utf-8").split()
    return next((pin for pin in pins if pin.startswith(f"{package}==")), f"{package} unknown")


# The ceiling

SHAPES = ((1024, 768, 3072), (1024, 3072, 768), (2048, 2048, 2048))
READ_BYTES = 2**30
SECONDS = 1.0


def ceiling(threads: int) -> dict[str, Any]:
    """Return the best rates, `int8_tops` and `read_gbs`, the operations that reached them, and all rates measured.

    Needs numpy, onnx and onnxruntime; torch is tried if it is installed.
    """
    products: dict[str, float] = {}
    for rate in (_onnxruntime_products, _torch_products):
        try:
            products |= rate(threads)
        except (ImportError, RuntimeError, NotImplementedError) as exc:
            products |= {f"{rate.__name__.strip('_')}: {type(exc).__name__}": 0.0}
    reads = _reads(threads)
    best, fastest = max(products, key=products.__getitem__), max(reads, key=reads.__getitem__)
    return {
        "int8_tops": products[best],
        "int8_by": best,
        "read_gbs": reads[fastest],
        "read_by": fastest,
        "products_tops": products,
        "reads_gbs": reads,
    }


def needs(config: dict[str, Any], batch: Batch) -> dict[str, int]:
    """Return the least operations and bytes for a batch in int8 without padding, from the model's shape.

    operations: all layers on all tokens, except that the last layer has only its keys and values on all tokens, and
    everything else at the masks. bytes: each weight that is used, once, with one byte (embeddings of the tokens only).

    The shape of BERT-base and one row of 12 tokens take about 1.9e9 operations and 1.07e8 bytes.
    """
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    vocabulary, masks = config["vocab_size"], len(batch.masks)
    a_token = 4 * hidden * hidden + 2 * hidden * inner
    attention = sum(2 * len(row) ** 2 * hidden for row in batch.ids)
    last_attention = sum(2 * len(row) * hidden for row in batch.ids)
    products = (layers - 1) * (a_token * batch.tokens + attention)
    products += 2 * hidden * hidden * batch.tokens + last_attention
    products += masks * (a_token - 2 * hidden * hidden + hidden * hidden + hidden * vocabulary)
    weights = layers * a_token + hidden * hidden + hidden * vocabulary + batch.tokens * hidden
    return {"operations": 2 * products, "bytes": weights}


def floor_seconds(needed: dict[str, int], ceiling: dict[str, Any]) -> float:
    """Return the least time: the time of the operations or the time of the bytes, whichever is longer."""
    return max(needed["operations"] / (ceiling["int8_tops"] * 1e12), needed["bytes"] / (ceiling["read_gbs"] * 1e9))


def _fastest(run: Callable[[], object]) -> float:
    """Return the seconds of the fastest call within SECONDS, after a warm-up."""
    run()
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def _tops(shape: tuple[int, int, int], run: Callable[[], object]) -> float:
    return 2 * shape[0] * shape[1] * shape[2] / _fastest(run) / 1e12


def _named(library: str, shape: tuple[int, int, int]) -> str:
    return f"{library} {'x'.join(map(str, shape))}"


def _onnxruntime_products(threads: int) -> dict[str, float]:
    import numpy as np
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    rates = {}
    for shape in SHAPES:
        rows, inner, columns = shape
        draw = np.random.default_rng(0)
        weight = numpy_helper.from_array(draw.integers(-127, 127, (inner, columns), np.int8), "weight")
        data = helper.make_tensor_value_info("data", TensorProto.UINT8, [rows, inner])
        out = helper.make_tensor_value_info("out", TensorProto.INT32, [rows, columns])
        node = helper.make_node("MatMulInteger", ["data", "weight"], ["out"])
        model = helper.make_model(helper.make_graph([node], "product", [data], [out], [weight]), ir_version=10)
        model.opset_import[0].version = 20
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(model.SerializeToString(), options)
        feeds = {"data": draw.integers(0, 255, (rows, inner), np.uint8)}
        rates[_named("onnxruntime MatMulInteger", shape)] = _tops(shape, lambda s=session, f=feeds: s.run(None, f))  # type: ignore[misc]
    return rates


def _torch_products(threads: int) -> dict[str, float]:
    import torch

    torch.set_num_threads(threads)
    rates = {}
    for shape in SHAPES:
        rows, inner, columns = shape
        left = torch.randint(-127, 127, (rows, inner), dtype=torch.int8)
        right = torch.randint(-127, 127, (inner, columns), dtype=torch.int8)
        rates[_named("torch._int_mm", shape)] = _tops(shape, lambda a=left, b=right: torch._int_mm(a, b))  # type: ignore[misc]
    return rates


def _reads(threads: int) -> dict[str, float]:
    """Return the rates of reading a large array once in GB/s; each thread reads a part."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    parts = np.array_split(np.ones(READ_BYTES // 4, np.float32), threads)
    rates = {}
    with ThreadPoolExecutor(threads) as pool:
        for name, read in (("numpy max", np.max), ("numpy sum", np.sum)):
            seconds = _fastest(lambda read=read: list(pool.map(read, parts)))  # type: ignore[misc]
            rates[name] = READ_BYTES / seconds / 1e9
    try:
        import torch
    except ImportError:
        return rates
    torch.set_num_threads(threads)
    whole = torch.ones(READ_BYTES // 4)
    return rates | {"torch sum": READ_BYTES / _fastest(whole.sum) / 1e9}
