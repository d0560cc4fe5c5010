"""Compile a model folder for the engine that runs it, and keep the result under a hash of everything it depends on.

    python -m serving.engine.compile MODEL_DIR [--precision int8]

compiles ahead of time, for an image.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType

import numpy as np

from serving.engine import compile_cache, reference
from serving.engine.backend import Backend, Choice, Precision, choose
from serving.engine.heads import MaskLogits
from serving.engine.machine import check_fits
from serving.engine.session import Session, open_session
from serving.errors import ModelFolderError, SettingsError
from serving.model import checkpoint
from serving.model.model_folder import find_checkpoint
from serving.model.signature import CACHE
from serving.model.tokenizer import Passage
from serving.model.trust import check_folder, is_our_folder, is_ours, signed_folder
from serving.native import weights
from serving.settings import ENGINES, PRECISIONS, Settings
from serving.tasks import TASKS

logger = logging.getLogger("serving.engine.compile")

_MODULES = (
    "engine/graph",
    "engine/graph_nodes",
    "model/checkpoint",
    "tasks",
    "native/weights",
)
CODE = tuple(Path(__file__).parents[1] / f"{module}.py" for module in _MODULES)
"""The code that is part of the hash, so that models compiled by other versions of it are not used."""

TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "fp16": 0.02, "int8": 0.3}
"""The largest allowed error of the logits, relative to the reference's norm: rounding in fp32; 0.02 to 0.1 is usual in int8,
and a wrong graph has an error of about 1."""

ROWS = 8
"""Random rows whose logits are compared if the head reads one token a row. Such a head gives few logits a row: it can be
unsure of a row, whose logits are then near 0 beside the rounding errors of int8."""


def compiled(
    folder: Path, precision: Precision, cache_dir: Path | None = None, backend: Backend = "onnxruntime"
) -> Path | bytes:
    """Return the file of a compiled checkpoint, from the cache or compiled now; its bytes if no file can be kept.

    Raises ModelFolderError if the checkpoint cannot be read, or the result differs from the reference.
    """
    weights_file = checkpoint.weights_file(folder)
    check_fits(str(weights_file), weights_file.stat().st_size)  # the file is read as a whole for its hash
    kind = "onnx" if backend == "onnxruntime" else "native.safetensors"
    entry = compile_cache.Entry(content_hash(folder, precision), kind)
    places = cache_places(folder, cache_dir)
    accepted = is_ours if signed_folder(folder) else Path.is_file
    kept = next(filter(None, (entry.found(place, accepted) for place in places)), None)
    try:
        return kept or _compile(folder, precision, backend, entry, places)
    except MemoryError as exc:
        raise ModelFolderError(
            f"{folder}: there is not enough memory to compile the model; use a larger machine"
        ) from exc


def cache_places(folder: Path, cache_dir: Path | None = None) -> list[Path]:
    """Return the folders that may keep the compiled models of a checkpoint, best first.

    A compiled model is served instead of the weights. The models of a signed folder are therefore kept outside it, in a
    folder that nobody else can write: a file in the signed folder is not covered by the signature.
    """
    beside = folder / CACHE
    places = [cache_dir] if cache_dir else [beside, *user_cache_dir()]
    signed = signed_folder(folder)
    if signed is None:
        return [place for place in places if place != beside or not beside.is_symlink()]
    outside = [place for place in places if not place.resolve().is_relative_to(signed.resolve())]
    ours = [place for place in outside if is_our_folder(place) or not os.path.lexists(place)]
    for place in sorted({*outside} - {*ours}):
        logger.warning("%s is not used for a signed model folder, as others can write there", place)
    return ours


def content_hash(folder: Path, precision: Precision) -> str:
    """Return a hash of everything that a compiled graph depends on: the checkpoint's bytes, this code, the precision.

    The CPU is not part of it: any CPU runs what another has compiled.
    """
    digest = hashlib.sha256(f"{_onnxruntime_version()} {precision}".encode())
    for path in (*CODE, folder / "config.json", checkpoint.weights_file(folder)):
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as exc:
            raise ModelFolderError(f"{path}: expected a file that can be read ({exc.strerror})") from exc
    return f"{precision}-{digest.hexdigest()[:24]}"


def _onnxruntime_version() -> str:
    try:
        return version("onnxruntime")
    except PackageNotFoundError:  # the same module, of the same version, from the package for GPUs
        return version("onnxruntime-gpu")


def user_cache_dir() -> list[Path]:
    """Return the user's cache folder for models of read-only folders (XDG base directory specification), if there is one."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return [Path(cache) / "bert-serving"] if os.path.isabs(cache) else []


def _compile(
    folder: Path,
    precision: Precision,
    backend: Backend,
    entry: compile_cache.Entry,
    places: list[Path],
) -> Path | bytes:
    """Write the compiled model to the first place that can be written and return its path; its bytes if there is none."""
    with _stage("read"):
        source = checkpoint.Checkpoint.read(folder)
    with _stage("build"):
        parts = weights.pack(source) if backend == "native" else _graph(source, precision)
    for place in places:
        try:
            with entry.kept(place) as made:
                _write(made.file, parts)
                _check(folder, source, precision, backend, made.file)
        except OSError as exc:
            logger.info("cannot keep the compiled model in %s: %s", place, exc.strerror)
        except ModelFolderError:
            with suppress(OSError):  # fails if other models are in the folder
                place.rmdir()
            raise
        else:
            return made.file
    logger.warning("the compiled model cannot be kept, so each start compiles it; set BERT_SERVING_CACHE_DIR")
    content = b"".join(parts)
    _check(folder, source, precision, backend, content)
    return content


def _graph(source: checkpoint.Checkpoint, precision: Precision) -> list[bytes | memoryview]:
    # onnx takes memory and a part of a second, which a start from the cache does not need.
    from serving.engine import graph

    return graph.build(source, precision)


def _write(to: Path, parts: Iterable[bytes | memoryview]) -> None:
    with _stage("write"), to.open("wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), os.fstat(file.fileno()).st_mode & ~0o022)  # at any umask: see is_ours
    logger.info("%.0f MB", to.stat().st_size / 1e6)


def _check(
    folder: Path, source: checkpoint.Checkpoint, precision: Precision, backend: Backend, content: Path | bytes
) -> None:
    """Compare the logits with the reference's; raises ModelFolderError.

    A GPU's graph is checked on the CPU too, as images are built without a GPU.
    """
    with _stage("check"):
        try:
            error = relative_error(source, open_session(content, threads=0))
        except OverflowError as exc:
            raise ModelFolderError(f"{folder}: {exc}; train or get the model again") from exc
    if not error <= TOLERANCE[precision]:  # true for NaN too
        raise ModelFolderError(
            f"{folder}: the {precision} model for {backend} is off the reference by {error:.3g}, "
            f"expected at most {TOLERANCE[precision]}; "
            + ("serve it in fp32" if precision != "fp32" else "are there infinite or NaN weights?")
        )
    logger.info("relative error %.2g", error)


def relative_error(source: checkpoint.Checkpoint, session: Session) -> float:
    """Return the difference between the graph's logits for random rows and the reference's, relative to their size.

    A row's second half is masked, or is its second segment. The size is the norm of the reference's logits, but at least
    half of what features and weights of this size give at random, as logits may happen to be near 0.

    Raises OverflowError if the reference's logits are too large: beside an infinite norm, every error would be 0.
    """
    random = np.random.default_rng(0)
    logits, expected, features = [], [], []
    head = TASKS[source.task].head
    for _ in range(ROWS if head.tokens == "first" else 1):
        passage = _random_passage(source, random)
        logits.append(_logits(source, session, passage))
        hidden = reference.encode(source, np.array(passage.ids), passage.segments)[_positions(source, passage)]
        expected.append(reference.head(source, hidden))
        features.append(reference.features(source, hidden))
    weight = source.weights[head.weight]
    with np.errstate(over="ignore"):
        usual = np.linalg.norm(features) * np.linalg.norm(weight) / np.sqrt(weight.shape[1])
        scale = max(np.linalg.norm(expected), usual / 2, np.finfo(np.float32).tiny)
    if not np.isfinite(scale):
        raise OverflowError("expected logits of an ordinary size, found infinite ones; the weights are far too large")
    return float(np.linalg.norm(np.array(logits) - np.array(expected)) / scale)


def _random_passage(source: checkpoint.Checkpoint, random: np.random.Generator) -> Passage:
    length = min(16, source.config.max_positions)
    ids = random.integers(source.config.vocab_size, size=length)
    passage = Passage(ids.tolist(), masks=range(length // 2, length))
    if TASKS[source.task].head.pairs and source.config.type_vocab_size > 1:
        return replace(passage, segments=[0] * (length // 2) + [1] * (length - length // 2))
    return passage


def _positions(source: checkpoint.Checkpoint, passage: Passage) -> slice:
    """Return which tokens of a row the head reads."""
    masked = slice(len(passage.ids) // 2, None)
    return {"masks": masked, "first": slice(1), "all": slice(None)}[TASKS[source.task].head.tokens]


def _logits(source: checkpoint.Checkpoint, session: Session, passage: Passage) -> checkpoint.Array:
    """Return the logits of one passage, float32, in the shape of the reference's logits."""
    feeds = {
        "input_ids": np.array([passage.ids]),
        "lengths": np.array([len(passage.ids)], np.int32),
        "segments": np.array([passage.segments or [0] * len(passage.ids)], np.int64),
        **MaskLogits(source.config.vocab_size).feeds([passage], len(passage.ids)),
    }
    outputs = session.run(TASKS[source.task].head.outputs, feeds)
    joined: checkpoint.Array = np.stack(outputs, axis=-1)[0] if len(outputs) > 1 else outputs[0]
    return joined


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


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; exit with status 1 and one line if the folder cannot be compiled, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="python -m serving.engine.compile", description=__doc__.split("\n", 1)[0])
    parser.add_argument("model_dir", type=Path, help="folder with config.json, model.safetensors and tokenizer.json")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="fp16: for a GPU, which need not be here; auto: fp16 if there is a GPU, else int8 if this CPU has VNNI or AMX",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="auto: native for int8 if this machine can run it, else onnxruntime",
    )
    parser.add_argument(
        "--cache-dir", type=Path, help="folder for the result (MODEL_DIR/.compiled, or the user's cache)"
    )
    args = parser.parse_args(argv)
    progress = _ProgressLine()
    logger.addHandler(progress)
    logger.setLevel(logging.INFO)
    try:
        check_folder(args.model_dir, Settings.from_env())
        folder = find_checkpoint(args.model_dir).checkpoint
        config = checkpoint.BertConfig.from_json(checkpoint.read_config(folder))
        # An image for GPUs may be built on a machine without a GPU.
        for_gpu = Choice("onnxruntime", "fp16", "cuda") if args.precision == "fp16" else None
        choice = for_gpu or choose(args.precision, args.engine, config)
        sys.stderr.write(f"compile {args.model_dir} to {choice.precision} for {choice.backend}:")
        kept = compiled(folder, choice.precision, args.cache_dir, choice.backend)
        if isinstance(kept, bytes):
            raise ModelFolderError(
                "the compiled model cannot be kept; name a folder that can be written with --cache-dir"
            )
    except (ModelFolderError, SettingsError) as exc:
        sys.stderr.write(f"\ncompile: {exc}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\ncompile: interrupted; no file is left\n")
        return 130
    finally:
        logger.removeHandler(progress)
    sys.stderr.write("\n")
    sys.stdout.write(f"{kept}\n")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)  # removes half-written files, as Ctrl-C does
    sys.exit(main())
