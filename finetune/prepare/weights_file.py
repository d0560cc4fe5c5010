"""Copy a checkpoint's weights as they are into one model.safetensors, whichever files they come in.

The format: eight bytes of the header's length, little-endian; the header, JSON of name -> {"dtype", "shape",
"data_offsets"}; the tensors' bytes. Shards are joined byte by byte, so that no type of number is read or changed.
https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from finetune.errors import FinetuneError

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
BLOCK = 1 << 20
LARGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class TensorFile:
    """A file of tensors: its header, without the metadata, and where the tensors' bytes begin and end."""

    path: Path
    tensors: dict[str, dict[str, Any]]
    start: int
    size: int

    @classmethod
    def read(cls, path: Path) -> TensorFile:
        """Read a file's header; raises FinetuneError where it is not one, or is cut short."""
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length)) if 0 < length <= LARGEST_HEADER else None
        except OSError as exc:
            raise FinetuneError(f"{path}: expected a file that can be read, found: {exc.strerror}") from exc
        except (ValueError, RecursionError):
            header = None
        if not isinstance(header, dict) or not all(isinstance(entry, dict) for entry in header.values()):
            raise FinetuneError(f"{path}: expected a safetensors file, found another or a broken one; fetch it again")
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        size = path.stat().st_size - 8 - length
        try:
            expected = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
            for entry in tensors.values():
                tuple(map(int, entry["shape"]))
        except (KeyError, IndexError, TypeError, ValueError) as exc:
            raise FinetuneError(f"{path}: expected a safetensors file, found a broken header; fetch it again") from exc
        if size != expected:
            raise FinetuneError(f"{path}: expected {expected:,} bytes of tensors, found {size:,}; fetch it again")
        return cls(path, tensors, 8 + length, size)

    def blocks(self) -> Iterator[bytes]:
        """Yield the tensors' bytes."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            yield from iter(lambda: file.read(BLOCK), b"")


def tensor_files(folder: Path) -> list[TensorFile]:
    """Return the files of a checkpoint's weights; raises FinetuneError where there are none or one is missing."""
    if (folder / WHOLE).is_file():
        return [TensorFile.read(folder / WHOLE)]
    if not (folder / INDEX).is_file():
        raise FinetuneError(no_weights(str(folder), sorted(path.name for path in folder.iterdir())))
    try:
        names = sorted(set(json.loads((folder / INDEX).read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise FinetuneError(f"{folder / INDEX}: expected JSON with a weight_map of file names, found another") from exc
    missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        raise FinetuneError(
            f"{folder}: expected {', '.join(missing)}, as {INDEX} says, found no such file; fetch it again"
        )
    return [TensorFile.read(folder / name) for name in names]


def no_weights(where: str, names: list[str]) -> str:
    """Return the message of a model without safetensors."""
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    if pickles:
        found = f"only {', '.join(pickles[:3])}, a pickle, which can run code"
        fix = "convert it to safetensors where you trust it (transformers: AutoModel.from_pretrained(…).save_pretrained(…))"
    elif "adapter_model.safetensors" in names:
        found, fix = "a LoRA adapter", "merge it into its base (peft: merge_and_unload) and give the folder of that"
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
                raise FinetuneError(
                    f"{file.path}: expected each tensor in one file, found {name} in two; fetch it again"
                )
            header[name] = {**entry, "data_offsets": [start + offset for offset in entry["data_offsets"]]}
        start += file.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
