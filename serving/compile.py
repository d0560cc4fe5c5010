"""Compile a model folder to an ONNX graph, once: the result is kept by the hash of what it was made from.

    python -m serving.compile MODEL_DIR [--precision int8]

does so ahead of time, for an image.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime as ort

from serving import checkpoint, graph, reference
from serving.cpu import has_int8_products
from serving.errors import ModelFolderError
from serving.graph import Precision
from serving.model_folder import find_checkpoint
from serving.session import open_session
from serving.settings import PRECISIONS

logger = logging.getLogger("serving.compile")

CODE = tuple(Path(str(module.__file__)) for module in (graph, checkpoint))
"""Part of the hash, so that a graph that older code wrote is not picked up."""

TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "int8": 0.3}
"""The largest error of the logits, relative to the reference's norm, that a graph may have: rounding in fp32; in int8
0.02 to 0.1 is usual, and a graph that is wrong is off by about 1."""


def resolve_precision(wanted: str) -> Precision:
    """Turn `auto` into what suits this CPU: int8 where it has the instructions."""
    if wanted == "auto":
        return "int8" if has_int8_products() else "fp32"
    return "int8" if wanted == "int8" else "fp32"


def compiled(folder: Path, precision: Precision, cache_dir: Path | None = None) -> Path | bytes:
    """Return the compiled graph of a checkpoint folder, from the cache or made now; its bytes where none can be kept.

    Raises ModelFolderError where the checkpoint cannot be read, or the graph differs from the reference.
    """
    weight_bits = 8 if has_int8_products() else 7
    name = f"{content_hash(folder, precision, weight_bits)}.onnx"
    places = [cache_dir] if cache_dir else [folder / ".compiled", *user_cache_dir()]
    found = next((place / name for place in places if (place / name).is_file()), None)
    return found or _kept(_compile(folder, precision, weight_bits), name, places)


def content_hash(folder: Path, precision: Precision, weight_bits: int) -> str:
    """Return a hash of all that a compiled graph depends on: the checkpoint's bytes, this code's version, the options."""
    digest = hashlib.sha256(f"{ort.__version__} {precision} {weight_bits}".encode())
    for path in (*CODE, folder / "config.json", checkpoint.weights_file(folder)):
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as exc:
            raise ModelFolderError(f"{path}: expected a file that can be read ({exc.strerror})") from exc
    return f"{precision}-{digest.hexdigest()[:24]}"


def user_cache_dir() -> list[Path]:
    """Return where graphs of read-only model folders are kept (XDG base directory specification), if this user has it."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return [Path(cache) / "bert-serving"] if os.path.isabs(cache) else []


def _compile(folder: Path, precision: Precision, weight_bits: int) -> bytes:
    with _stage("read"):
        source = checkpoint.Checkpoint.read(folder)
    with _stage("build"):
        serialized: bytes = graph.build(source, precision, weight_bits).SerializeToString()
    with _stage("check"):
        error = relative_error(source, open_session(serialized, threads=0))
    if not error <= TOLERANCE[precision]:  # a NaN is not below it either
        raise ModelFolderError(
            f"{folder}: the {precision} graph is off the reference by {error:.3g}, expected at most {TOLERANCE[precision]}; "
            + ("serve it in fp32" if precision == "int8" else "are there infinite or NaN weights?")
        )
    logger.info("%.0f MB, relative error %.2g", len(serialized) / 1e6, error)
    return serialized


def _kept(serialized: bytes, name: str, places: list[Path]) -> Path | bytes:
    """Write a graph to the first place that takes it and return where; itself where none does."""
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
            with _stage("write"):
                write_whole(place / name, serialized)
        except OSError as exc:
            logger.info("cannot keep the compiled graph in %s: %s", place, exc.strerror)
        else:
            return place / name
    logger.warning("the compiled graph cannot be kept, so each start compiles it; set BERT_SERVING_CACHE_DIR")
    return serialized


def relative_error(source: checkpoint.Checkpoint, session: ort.InferenceSession) -> float:
    """Return ||graph - reference|| / ||reference|| of the logits of one random row, the last tokens masked."""
    length = min(16, source.config.max_positions)
    ids = np.random.default_rng(0).integers(source.config.vocab_size, size=length)
    masks = np.arange(length // 2, length)
    feeds = {
        "input_ids": ids[None],
        "lengths": np.array([length], np.int32),
        "positions": masks[None],
        "selected": np.arange(len(masks)),
        "k": np.array([1]),
        "targets": np.zeros((len(masks), 0), np.int64),
    }
    found = session.run(["logits"], feeds)[0]
    expected = reference.logits(source, ids)[masks]
    scale = max(np.linalg.norm(expected), np.finfo(np.float32).tiny)  # a model may score every word the same, 0
    return float(np.linalg.norm(found - expected) / scale)


def write_whole(target: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever stops this process."""
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f"{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def _stage(name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    logger.info("%s %.1f s", name, time.perf_counter() - start)


class _ProgressLine(logging.Handler):
    """Shows a compilation's stages on one line of stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"  {record.getMessage()}")
        sys.stderr.flush()


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; exit status 1 and one line where the folder cannot be compiled."""
    parser = argparse.ArgumentParser(prog="python -m serving.compile", description=__doc__.split("\n", 1)[0])
    parser.add_argument("model_dir", type=Path, help="folder with config.json, model.safetensors and tokenizer.json")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="auto: int8 where this CPU has VNNI or AMX"
    )
    parser.add_argument("--cache-dir", type=Path, help="where to keep it (MODEL_DIR/.compiled, or the user's cache)")
    args = parser.parse_args(argv)
    progress = _ProgressLine()
    logger.addHandler(progress)
    logger.setLevel(logging.INFO)
    try:
        precision = resolve_precision(args.precision)
        sys.stderr.write(f"compile {args.model_dir} to {precision}:")
        kept = compiled(find_checkpoint(args.model_dir).checkpoint, precision, args.cache_dir)
        if isinstance(kept, bytes):
            raise ModelFolderError("expected a folder that can be written to; name one with --cache-dir")
    except ModelFolderError as exc:
        sys.stderr.write(f"\ncompile: {exc}\n")
        return 1
    finally:
        logger.removeHandler(progress)
    sys.stderr.write("\n")
    sys.stdout.write(f"{kept}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
