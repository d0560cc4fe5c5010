"""Which model is pulled: the repository and commit that spec.yaml pins, or another that is named.

The commit is written once, in spec.yaml. The later one, for where that has no safetensors, is written here.

Which of a repository's files are pulled: a BERT in safetensors, its tokenizer, and what says whose it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from asset.environments import ROOT
from asset.findings import shown
from asset.models.errors import FolderTaken, NoSafetensors, NotServable, RequestError
from asset.models.hub import Hub, Listing
from finetune.prepare.base_model import TOKENIZER_FILES, has_weights
from finetune.prepare.weights_file import INDEX, WHOLE, no_weights

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


CARD = "README.md"
PAPERS = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE")
MARKS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")


def find_listing(hub: Hub, wanted: Wanted) -> tuple[Listing, str | None]:
    """Return the commit to pull, and why it is another one than asked for, where it is. Raises PullError."""
    if hub.offline:
        return _in_cache(hub, wanted)
    repository = wanted.repositories[0]
    listing = hub.listing(repository, wanted.revision)
    if has_weights(_root(listing)):
        return listing, None
    if wanted.later is None:
        raise NoSafetensors(_no_weights(listing))
    later = hub.listing(repository, wanted.later)
    if not has_weights(_root(later)):
        raise NoSafetensors(_no_weights(later))
    pickles = [name for name in _root(listing) if name.endswith(MARKS)]
    return later, (
        f"{listing.commit} has no {WHOLE}, only {', '.join(pickles) or 'no weights'}; pulled the later commit "
        f"{later.commit}, which has it{_same(listing, later)}"
    )


def choose(listing: Listing, card: bool) -> list[str]:
    """Return the names of the files to pull, config.json first and the weights last; `card`: with its README.md.

    Raises NotServable where there is no config.json or no tokenizer.
    """
    there = _root(listing)
    tokenizer = [name for name in TOKENIZER_FILES if name in there]
    if "config.json" not in there or not {"tokenizer.json", "vocab.txt"} & set(tokenizer):
        raise NotServable(
            f"{listing.repository}: expected config.json, and tokenizer.json or vocab.txt, found {', '.join(there[:10])}; "
            "choose a BERT or DistilBERT"
        )
    papers = [name for name in ((CARD,) if card else ()) + PAPERS if name in there]
    weights = [WHOLE] if WHOLE in there else [INDEX, *(name for name in there if _is_part(name))]
    return ["config.json", *tokenizer, *papers, *weights]


def _in_cache(hub: Hub, wanted: Wanted) -> tuple[Listing, str | None]:
    found: tuple[str, ...] = ()
    for revision in (wanted.revision, wanted.later):
        listing = hub.cached(wanted.repositories, revision) if revision else None
        if listing is None:
            continue
        if has_weights(listing.names) and {"tokenizer.json", "vocab.txt"} & set(listing.names):
            if revision == wanted.revision:
                return listing, None
            return listing, f"the hub's cache here has not all of {wanted.revision}; took the later commit {revision}"
        found = found or listing.names
    raise hub.offline_error(wanted.repositories[0], wanted.revision, found)


def _root(listing: Listing) -> list[str]:
    """Return the files that are in no folder of the repository."""
    return [name for name in listing.names if "/" not in name and "\\" not in name]


def _is_part(name: str) -> bool:
    return name.startswith("model-") and name.endswith(".safetensors")


def _no_weights(listing: Listing) -> str:
    told = no_weights(f"{listing.repository} at {listing.commit}", _root(listing))
    return f"{told}; or give the --revision of a commit that has it"


def _same(one: Listing, other: Listing) -> str:
    """Say which of the files that make the model what it is are the same in two commits."""
    names = [name for name in ("config.json", *TOKENIZER_FILES) if name in one.files and name in other.files]
    same = [name for name in names if one.files[name].key == other.files[name].key]
    others = [name for name in names if name not in same]
    told = f"; {', '.join(same)} are the same in both" if same else ""
    return told + (f", not {', '.join(others)}" if others else "")


def known_names(pulled: Iterable[str]) -> Iterator[str]:
    """Yield what a model folder may have that is replaced by a pull: what was pulled before, and what we write."""
    yield from ("config.json", WHOLE, INDEX, CARD, *TOKENIZER_FILES, *PAPERS, *pulled)
    yield from (
        "MLmodel",
        "requirements.txt",
        "conda.yaml",
        "python_env.yaml",
        "input_example.json",
        "components",
        "code",
    )
    # MLflow leaves the last where it loads a registered model.
    yield from (".compiled", "model.sig", "pulled.json", "registered_model_meta")
