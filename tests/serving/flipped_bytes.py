"""Flip bytes of a signed model folder, one at a time: each must be refused, with the file named.

    python -m tests.serving.flipped_bytes [--model model/embedded] [--every N]

flips every byte of the signature, every byte of the header of the weights, and 1,000 others of the folder's files, in
their upper and their lower bits. The suite flips some of a tiny model's. What is asked is what a server asks of a folder
when it starts (serving.model.trust.check_folder).
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asset.models.signing import Signer, sign
from serving.errors import ModelFolderError
from serving.model.trust import check_folder
from serving.settings import Settings
from tests.asset.models.signing.authority import new_key

SAMPLED = 1000


@dataclass(frozen=True)
class Place:
    """A byte of a file, and the bits of it that are flipped."""

    name: str
    offset: int
    bits: int


def every_place(folder: Path, sampled: int = SAMPLED) -> Iterator[Place]:
    """Yield every byte of the signature and of the header of the weights, and sampled ones of all files by their size."""
    draw = random.Random(17)
    weights = (folder / "model.safetensors").read_bytes()[:8]
    sizes = {
        "model.sig": (folder / "model.sig").stat().st_size,
        "model.safetensors": 8 + int.from_bytes(weights, "little"),
    }
    for name, size in sizes.items():
        yield from (Place(name, offset, 1 << draw.randrange(8)) for offset in range(size))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lengths = [path.stat().st_size for path in files]
    for index in draw.choices(range(len(files)), weights=lengths, k=sampled):
        name = files[index].relative_to(folder).as_posix()
        yield Place(name, draw.randrange(lengths[index]), draw.randrange(1, 256))


def accepted(folder: Path, key: Path, place: Place) -> str | None:
    """Flip a byte, ask, and flip it back; return what is wrong with the answer, None for a refusal with the file's name."""
    path = folder / place.name
    with path.open("r+b") as file:
        file.seek(place.offset)
        (before,) = file.read(1)
        file.seek(place.offset)
        file.write(bytes([before ^ place.bits]))
    try:
        check_folder(folder, Settings(signature_key=key))
    except ModelFolderError as exc:
        return None if place.name in str(exc) else f"{place}: {exc}"
    except Exception as exc:
        return f"{place}: {type(exc).__name__}: {exc}"
    else:
        return f"{place}: accepted"
    finally:
        with path.open("r+b") as file:
            file.seek(place.offset)
            file.write(bytes([before]))


def main() -> int:
    """Flip them all; exit status 1 where one was not refused as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("model/embedded"))
    parser.add_argument("--sampled", type=int, default=SAMPLED)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="flip one in N of them")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(
            shutil.copytree(args.model, Path(place) / "model", ignore=shutil.ignore_patterns(".compiled", "*.sig"))
        )
        private, public = new_key(Path(place) / "keys")
        sign(folder, Signer(private))
        places = list(every_place(folder, args.sampled))[:: args.every]
        wrong = [found for found in (accepted(folder, public, place) for place in places) if found]
        check_folder(folder, Settings(signature_key=public))  # and all were flipped back
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    sys.stdout.write(f"{len(places)} flipped bytes, {len(places) - len(wrong)} refused with the file named\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
