"""The choice of the model and the files to pull: the repository and commit that spec.yaml pins, or another model.

A pull takes a BERT in safetensors, its tokenizer, its card and its license. The pinned commit is written once, in spec.yaml;
the later commit, which is taken if the pinned one has no safetensors, is written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from asset.environments import ROOT
from asset.findings import shown
from asset.models.errors import RequestError
from asset.models.hub import BRANCH, Hub, Listing
from finetune.checkpoint_files import INDEX, TOKENIZER_FILES, WHOLE, has_weights, no_weights

OWNER = "google-bert"
"""The owner of the model on the hub today; the name in spec.yaml is older than owners are."""

LATER = "cd5ef92a9fb2f889e972770a36d4ed042daf221e"
"""A later commit of the same repository, which has model.safetensors."""


@dataclass(frozen=True)
class Asset:
    """The asset as spec.yaml describes it: name, version, its repository on the hub and the pinned commit."""

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
        """Return the names of the repository: in spec.yaml, and with its owner."""
        return self.repository, f"{OWNER}/{self.repository}"

    @property
    def folder(self) -> Path:
        """Return the model folder of the asset, which is in git except its weights."""
        return self.root / "model" / self.name


@dataclass(frozen=True)
class Wanted:
    """The model to pull and the folder for it: `repositories` are the names of one repository, the first is asked for.

    `later` is the commit to take if `revision` has no safetensors; None means that a lack of safetensors is an error.
    """

    repositories: tuple[str, ...]
    revision: str
    folder: Path
    later: str | None = None

    @classmethod
    def choose(cls, asset: Asset, model_id: str | None, revision: str | None, output: Path | None) -> Wanted:
        """Choose by the options of the command, each of which may be absent.

        Raises:
            RequestError: the name has no letter for the name of a folder, or the output is a file or the folder of the
                embedded model.
        """
        own = model_id is None or model_id in asset.repositories
        name = asset.name if own else str(model_id).rstrip("/").rpartition("/")[2]
        if not name.strip("."):
            raise RequestError(
                "invalid", f"--model-id: expected a model on the Hugging Face hub, as owner/name, found {model_id!r}"
            )
        folder = (output or (asset.folder if own else asset.root / "model" / name)).absolute().resolve()
        if folder.exists() and not folder.is_dir():
            raise _taken(folder, "a file")
        if folder == (asset.root / "model" / "embedded").resolve():
            raise _taken(folder, "the embedded model's")
        if not own:
            return cls((str(model_id),), revision or BRANCH, folder)
        return cls(asset.repositories, revision or asset.commit, folder, LATER if revision is None else None)


def _taken(folder: Path, found: str) -> RequestError:
    return RequestError(
        "folder_taken", f"{shown(folder)}: expected a folder to pull into, found {found}; give another --output"
    )


CARD = "README.md"
PAPERS = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE")
MARKS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")


def find_listing(hub: Hub, wanted: Wanted) -> tuple[Listing, str | None]:
    """Return the commit to pull, and a note if it is another commit than asked for. Raises ModelError."""
    if hub.offline:
        return _in_cache(hub, wanted)
    repository = wanted.repositories[0]
    listing = hub.listing(repository, wanted.revision)
    if has_weights(_root(listing)):
        return listing, None
    if wanted.later is None:
        raise _no_weights(listing)
    later = hub.listing(repository, wanted.later)
    if not has_weights(_root(later)):
        raise _no_weights(later)
    pickles = [name for name in _root(listing) if name.endswith(MARKS)]
    return later, (
        f"{listing.commit} has no {WHOLE}, only {', '.join(pickles) or 'no weights'}; pulled the later commit "
        f"{later.commit}, which has it{_same(listing, later)}"
    )


def choose(listing: Listing, card: bool) -> list[str]:
    """Return the names of the files to pull, config.json first and the weights last; `card`: with its README.md.

    Raises RequestError if there is no config.json or no tokenizer.
    """
    there = _root(listing)
    tokenizer = [name for name in TOKENIZER_FILES if name in there]
    if "config.json" not in there or not {"tokenizer.json", "vocab.txt"} & set(tokenizer):
        raise RequestError(
            "not_servable",
            f"{listing.repository}: expected config.json, and tokenizer.json or vocab.txt, found {', '.join(there[:10])}; "
            "choose a BERT or DistilBERT",
        )
    papers = [name for name in ((CARD,) if card else ()) + PAPERS if name in there]
    weights = [WHOLE] if WHOLE in there else [INDEX, *(name for name in there if _is_part(name))]
    return ["config.json", *tokenizer, *papers, *weights]


def _in_cache(hub: Hub, wanted: Wanted) -> tuple[Listing, str | None]:
    cached: tuple[str, ...] = ()
    for revision in (wanted.revision, wanted.later):
        listing = hub.cached(wanted.repositories, revision) if revision else None
        if listing is None:
            continue
        names = set(_root(listing))
        if has_weights(names) and "config.json" in names and {"tokenizer.json", "vocab.txt"} & names:
            if revision == wanted.revision:
                return listing, None
            return listing, f"the hub's cache lacks files of {wanted.revision}; took the later commit {revision}"
        cached = cached or listing.names
    raise hub.offline_error(wanted.repositories[0], wanted.revision, cached)


def _root(listing: Listing) -> list[str]:
    """Return the files at the root of the repository."""
    return [name for name in listing.names if "/" not in name and "\\" not in name]


def _is_part(name: str) -> bool:
    return name.startswith("model-") and name.endswith(".safetensors")


def _no_weights(listing: Listing) -> RequestError:
    problem = no_weights(f"{listing.repository} at {listing.commit}", _root(listing))
    return RequestError("no_safetensors", f"{problem}; or give the --revision of a commit that has it")


def _same(first: Listing, second: Listing) -> str:
    """Say which files beside the weights are the same in two commits."""
    names = [name for name in ("config.json", *TOKENIZER_FILES) if name in first.files and name in second.files]
    same = [name for name in names if first.files[name].key == second.files[name].key]
    others = [name for name in names if name not in same]
    text = f"; {', '.join(same)} are the same in both" if same else ""
    return text + (f", not {', '.join(others)}" if others else "")


def known_names(pulled: Iterable[str]) -> Iterator[str]:
    """Yield the names that a pull may replace in a model folder: the files of an earlier pull, and those that we write."""
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
    # MLflow leaves registered_model_meta in a registered model that it loads.
    yield from (".compiled", "model.sig", "pulled.json", "registered_model_meta")
