"""Which model is pulled: the repository and commit that spec.yaml pins, or another that is named.

The commit is written once, in spec.yaml. The later one, for where that has no safetensors, is written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from asset.environments import ROOT
from asset.findings import shown
from registry.pull.errors import FolderTaken, RequestError

OWNER = "google-bert"
"""Who has the model on the hub today; the name in spec.yaml is the one from before there were owners."""

LATER = "cd5ef92a9fb2f889e972770a36d4ed042daf221e"
"""A later commit of the same repository, which has model.safetensors."""

BRANCH = "main"


@dataclass(frozen=True)
class Asset:
    """What spec.yaml says: the asset's name and version, its repository on the hub and the commit that is pinned."""

    name: str
    version: int
    repository: str
    commit: str
    root: Path = ROOT

    @classmethod
    def read(cls, root: Path = ROOT) -> Asset:
        """Read spec.yaml."""
        spec = yaml.safe_load((root / "spec.yaml").read_text(encoding="utf-8"))
        repository = str(spec["system_metadata"]["huggingFaceModelId"])
        return cls(str(spec["name"]), int(spec["version"]), repository, str(spec["properties"]["SHA"]), root)

    @property
    def repositories(self) -> tuple[str, str]:
        """Return the names of the repository: the one of spec.yaml, and that with its owner."""
        return self.repository, f"{OWNER}/{self.repository}"

    @property
    def folder(self) -> Path:
        """Return the model folder of the asset, which is in git but for its weights."""
        return self.root / "model" / self.name


@dataclass(frozen=True)
class Wanted:
    """What to pull, and where to: `repositories` are the names of one repository, the first is asked for.

    `later` is the commit to take where `revision` has no safetensors; None where that is an error.
    """

    repositories: tuple[str, ...]
    revision: str
    folder: Path
    later: str | None = None

    @classmethod
    def choose(cls, asset: Asset, model_id: str | None, revision: str | None, output: Path | None) -> Wanted:
        """Choose by the command's options, all of which may be left out.

        Raises:
            RequestError: the name has no letter in it to call a folder by.
            FolderTaken: the output is a file, or the folder of the embedded model.
        """
        own = model_id is None or model_id in asset.repositories
        name = asset.name if own else str(model_id).rstrip("/").rpartition("/")[2]
        if not name.strip("."):
            raise RequestError(
                f"--model-id: expected a model on the Hugging Face hub, as owner/name, found {model_id!r}"
            )
        folder = (output or (asset.folder if own else asset.root / "model" / name)).absolute().resolve()
        if folder.exists() and not folder.is_dir():
            raise FolderTaken(f"{shown(folder)}: expected a folder to pull into, found a file; give another --output")
        if folder == (asset.root / "model" / "embedded").resolve():
            raise FolderTaken(
                f"{shown(folder)}: expected a folder to pull into, found the embedded model's; give another --output"
            )
        if not own:
            return cls((str(model_id),), revision or BRANCH, folder)
        return cls(asset.repositories, revision or asset.commit, folder, LATER if revision is None else None)
