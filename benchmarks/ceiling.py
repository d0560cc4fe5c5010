"""What the hardware can do: the best rate of a large int8 product, and of reading memory; and what a model needs.

Products are counted as 2 operations a multiply-add. Every figure is the best of several runs, as a ceiling is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.inputs import Batch

SHAPES = ((1024, 768, 3072), (1024, 3072, 768), (2048, 2048, 2048))
READ_BYTES = 2**30
SECONDS = 1.0


def measure(threads: int) -> dict[str, Any]:
    """Return `int8_tops` and `read_gbs` with what reached them, and every figure measured.

    Needs numpy, onnx and onnxruntime; torch's are tried where it is installed.
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
    """Return what answering a batch takes at least, by the model's shape, in int8 and without padding.

    operations: all layers on all tokens, but the last layer's only its keys and values, and all else at the masks.
    bytes: each weight that is used, once, one byte each (embeddings of the tokens only).

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
    """Return the least time: that of the operations or that of the bytes, whichever is longer."""
    return max(needed["operations"] / (ceiling["int8_tops"] * 1e12), needed["bytes"] / (ceiling["read_gbs"] * 1e9))


def _fastest(run: Callable[[], object]) -> float:
    """Return the seconds of the fastest of the calls that fit into SECONDS, after a warm-up."""
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

    found = {}
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
        found[_named("onnxruntime MatMulInteger", shape)] = _tops(shape, lambda s=session, f=feeds: s.run(None, f))  # type: ignore[misc]
    return found


def _torch_products(threads: int) -> dict[str, float]:
    import torch

    torch.set_num_threads(threads)
    found = {}
    for shape in SHAPES:
        rows, inner, columns = shape
        left = torch.randint(-127, 127, (rows, inner), dtype=torch.int8)
        right = torch.randint(-127, 127, (inner, columns), dtype=torch.int8)
        found[_named("torch._int_mm", shape)] = _tops(shape, lambda a=left, b=right: torch._int_mm(a, b))  # type: ignore[misc]
    return found


def _reads(threads: int) -> dict[str, float]:
    """Return the rates of reading a large array once, in GB/s, each thread its part."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    parts = np.array_split(np.ones(READ_BYTES // 4, np.float32), threads)
    found = {}
    with ThreadPoolExecutor(threads) as pool:
        for name, read in (("numpy max", np.max), ("numpy sum", np.sum)):
            seconds = _fastest(lambda read=read: list(pool.map(read, parts)))  # type: ignore[misc]
            found[name] = READ_BYTES / seconds / 1e9
    try:
        import torch
    except ImportError:
        return found
    torch.set_num_threads(threads)
    whole = torch.ones(READ_BYTES // 4)
    return found | {"torch sum": READ_BYTES / _fastest(whole.sum) / 1e9}
