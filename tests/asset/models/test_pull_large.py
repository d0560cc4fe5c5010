"""A repository of the size of BERT-base, 433 MB, whose connection is cut five times."""

from __future__ import annotations

import filecmp
import json
import mmap
import random
import shutil
from pathlib import Path

from benchmarks.inputs import BASE
from serving.model.checkpoint import BertConfig, expected_shapes
from tests.asset.models.conftest import REPOSITORY, Puller
from tests.loopback_hub import Repository

BLOCK = 1 << 22


def write_weights(file: Path) -> int:
    """Write tensors of BERT-base's names and shapes, whose bytes are random; returns the file's size."""
    header, end = {}, 0
    for name, shape in expected_shapes(BertConfig.from_json(BASE)).items():
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[f"bert.{name}"] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    block = random.Random(17).randbytes(BLOCK)
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for place in range(0, end, BLOCK):
            out.write((place.to_bytes(8, "little") + block)[: min(BLOCK, end - place)])
    return file.stat().st_size


def test_a_pull_of_433_mb_that_is_cut_five_times_ends_bit_identical(
    puller: Puller, tiny: dict[str, bytes], tmp_path: Path
) -> None:
    source = tmp_path / "model.safetensors"
    size = write_weights(source)
    assert size > 400e6
    files = {**tiny, "config.json": json.dumps(BASE).encode()}
    with source.open("rb") as opened:
        files["model.safetensors"] = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)  # type: ignore[assignment]
    repository = puller.loopback.repositories[REPOSITORY] = Repository(files, cuts=5)
    assert repository.hashes
    pulled = puller()
    assert repository.cuts == 0
    assert len(puller.screen.lines) == 5
    assert filecmp.cmp(source, puller.folder / "model.safetensors", shallow=False)
    assert size < pulled.came < size + 1e6  # no byte of them came twice
    assert not puller.staging.exists()
    shutil.rmtree(puller.folder)
    source.unlink()
