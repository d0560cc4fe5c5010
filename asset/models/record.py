"""The record of a pull in the model folder, pulled.json: the origin and the hash of each file."""

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
    """The repository and the commit, those that were asked for, a note if they differ, and the SHA-256 of each file.

    `joined` are the weights files of a model in several parts, which were joined into one.
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
        """Return the record in a folder; None if there is none that can be read."""
        try:
            read = json.loads((folder / NAME).read_bytes())
            return cls(**read) if isinstance(read["files"], dict) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Write the record into a folder."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (folder / NAME).write_text(f"{text}\n", encoding="utf-8")

    def answers(self, wanted: Wanted) -> bool:
        """Return whether the recorded pull asked for the same model."""
        return self.asked_repository in wanted.repositories and self.asked_revision == wanted.revision

    def changed(self, folder: Path) -> list[str]:
        """Return the files that were changed or removed since the pull."""
        return [name for name, digest in self.files.items() if file_sha256(folder / name) != digest]


def file_sha256(path: Path) -> str | None:
    """Return the SHA-256 of a file; None if there is no such file."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
