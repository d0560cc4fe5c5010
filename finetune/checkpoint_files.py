"""The files of a BERT or DistilBERT checkpoint as they are published, and one model.safetensors and tokenizer.json made of them.

Weights come in one file or in several, and are joined byte by byte, so that no kind of number is read or changed. A file:
eight bytes of the header's length, little-endian; the header, JSON of name -> {"dtype", "shape", "data_offsets"}; the
tensors' bytes. https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from serving.errors import ModelFolderError
from serving.model.checkpoint import BertConfig, canonical_name, expected_shapes
from serving.model.tokenizer import SPECIAL_TOKENS

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
)
"""The files that a BERT tokenizer may have; tokenizer.json, or vocab.txt to make it of, is needed."""

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PARTS = "model-*.safetensors"
WEIGHTS = (WHOLE, INDEX, PARTS)
ENCODER = ("embeddings.", "encoder.")
BLOCK = 1 << 20
LARGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class TensorFile:
    """A file of tensors: its header without the metadata, and the start and the number of the tensors' bytes."""

    path: Path
    tensors: dict[str, dict[str, Any]]
    start: int
    size: int

    @classmethod
    def read(cls, path: Path) -> TensorFile:
        """Read a file's header; raises ModelFolderError if the file is no safetensors file, or is cut short."""
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length)) if 0 < length <= LARGEST_HEADER else None
        except OSError as exc:
            raise ModelFolderError(f"{path}: expected a file that can be read, found: {exc.strerror}") from exc
        except (ValueError, RecursionError):
            header = None
        if not isinstance(header, dict) or not all(isinstance(entry, dict) for entry in header.values()):
            raise ModelFolderError(
                f"{path}: expected a safetensors file, found another or a broken file; fetch it again"
            )
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        size = path.stat().st_size - 8 - length
        try:
            expected = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
            for entry in tensors.values():
                tuple(map(int, entry["shape"]))
        except (KeyError, IndexError, TypeError, ValueError) as exc:
            raise ModelFolderError(
                f"{path}: expected a safetensors file, found a broken header; fetch it again"
            ) from exc
        if size != expected:
            raise ModelFolderError(f"{path}: expected {expected:,} bytes of tensors, found {size:,}; fetch it again")
        return cls(path, tensors, 8 + length, size)

    def blocks(self) -> Iterator[bytes]:
        """Yield the tensors' bytes."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            yield from iter(lambda: file.read(BLOCK), b"")


def tensor_files(folder: Path) -> list[TensorFile]:
    """Return the files of a checkpoint's weights; raises ModelFolderError if there are none or one is missing."""
    if (folder / WHOLE).is_file():
        return [TensorFile.read(folder / WHOLE)]
    if not (folder / INDEX).is_file():
        raise ModelFolderError(no_weights(str(folder), sorted(path.name for path in folder.iterdir())))
    try:
        names = sorted(set(json.loads((folder / INDEX).read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ModelFolderError(
            f"{folder / INDEX}: expected JSON with a weight_map of file names, found another"
        ) from exc
    missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        raise ModelFolderError(
            f"{folder}: expected {', '.join(missing)}, as {INDEX} says, found no such file; fetch it again"
        )
    return [TensorFile.read(folder / name) for name in names]


def has_weights(names: Iterable[str]) -> bool:
    """Return whether there are safetensors among the files of a repository."""
    return any(fnmatch.fnmatch(name, pattern) for name in names for pattern in WEIGHTS)


def no_weights(where: str, names: list[str]) -> str:
    """Return the message for a model without safetensors."""
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    if pickles:
        found = f"only {', '.join(pickles[:3])}, a pickle, which can run code"
        fix = (
            "convert it to safetensors if you trust it (transformers: AutoModel.from_pretrained(…).save_pretrained(…))"
        )
    elif "adapter_model.safetensors" in names:
        found, fix = "a LoRA adapter", "merge it into its base (peft: merge_and_unload) and give the merged folder"
    else:
        found, fix = ", ".join(names[:10]) or "nothing", "give the folder of a saved checkpoint"
    return f"{where}: expected {WHOLE}, found {found}; {fix}"


def write_weights(files: list[TensorFile], target: Path) -> str:
    """Write one file of all tensors; returns its SHA-256. A single file is copied byte for byte."""
    digest = hashlib.sha256()
    with target.open("wb") as out:
        if len(files) == 1:
            with files[0].path.open("rb") as file:
                for block in iter(lambda: file.read(BLOCK), b""):
                    _write(out, digest, block)
            return digest.hexdigest()
        _write(out, digest, _joined_header(files))
        for source in files:
            for block in source.blocks():
                _write(out, digest, block)
    return digest.hexdigest()


def _write(out: BinaryIO, digest: Any, block: bytes) -> None:  # noqa: ANN401 - hashlib keeps the class to itself
    out.write(block)
    digest.update(block)


def _joined_header(files: list[TensorFile]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for file in files:
        for name, entry in file.tensors.items():
            if name in header:
                raise ModelFolderError(
                    f"{file.path}: expected each tensor in one file, found {name} in two; fetch it again"
                )
            header[name] = {**entry, "data_offsets": [start + offset for offset in entry["data_offsets"]]}
        start += file.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def head_rows(file: Path) -> int | None:
    """Return the number of labels of a checkpoint's classifier; None if it has no classifier."""
    entry = TensorFile.read(file).tensors.get("classifier.weight")
    return int(entry["shape"][0]) if entry and entry["shape"] else None


def check_tensors(source: str, files: list[TensorFile], config: BertConfig) -> None:
    """Raise ModelFolderError if the encoder is not complete, or not of the shapes in config.json."""
    shapes = {canonical_name(name): tuple(entry["shape"]) for file in files for name, entry in file.tensors.items()}
    for name, shape in expected_shapes(config).items():
        if name.startswith(ENCODER) and shapes.get(name) != shape:
            there = "none" if name not in shapes else f"shape {shapes[name]}"
            raise ModelFolderError(f"{source}: expected {name} of shape {shape}, as config.json says, found {there}")


def build_tokenizer(folder: Path) -> None:
    """Make tokenizer.json of vocab.txt and tokenizer_config.json, as transformers does; raises ModelFolderError."""
    try:
        tokens = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as exc:
        raise ModelFolderError(f"vocab.txt: expected UTF-8, found {exc.reason}; fetch it again") from exc
    missing = [token for token in SPECIAL_TOKENS if token not in tokens]
    if missing:  # transformers would add them, with ids that the model does not know
        raise ModelFolderError(
            f"vocab.txt: expected a BERT vocabulary, a token a line, found no {', '.join(missing)} in it"
        )
    from transformers import BertTokenizerFast  # seconds, and seldom needed

    BertTokenizerFast.from_pretrained(str(folder)).backend_tokenizer.save(str(folder / "tokenizer.json"))
