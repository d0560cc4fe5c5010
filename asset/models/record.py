"""What a pull leaves in the folder about where its files are from: pulled.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from asset.models.selection import Wanted

NAME = "pulled.json"


@dataclass(frozen=True)
class Record:
    """Repository and commit, what was asked for, why the commit is another where it is, and each file's SHA-256.

    `joined` are the files of a model in parts, which were put together into one.
    """

    repository: str
    commit: str
    asked_repository: str
    asked_revision: str
    note: str | None
    files: Mapping[str, str]
    joined: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> Record | None:
        """Return a folder's record; None where it has none that can be read."""
        try:
            read = json.loads((folder / NAME).read_bytes())
            return cls(**read) if isinstance(read["files"], dict) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (folder / NAME).write_text(f"{text}\n", encoding="utf-8")

    def answers(self, wanted: Wanted) -> bool:
        """Return whether it tells of a pull that asked for the same."""
        return self.asked_repository in wanted.repositories and self.asked_revision == wanted.revision

    def changed(self, folder: Path) -> list[str]:
        """Return the files that are no longer there as they were pulled."""
        return [name for name, digest in self.files.items() if file_sha256(folder / name) != digest]


def file_sha256(path: Path) -> str | None:
    """Return the SHA-256 of a file; None where there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
