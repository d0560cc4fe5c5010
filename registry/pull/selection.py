"""Which of a repository's files are pulled: a BERT in safetensors, its tokenizer, and what says whose it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from finetune.prepare.base_model import TOKENIZER_FILES, has_weights
from finetune.prepare.weights_file import INDEX, WHOLE, no_weights
from registry.pull.errors import NoSafetensors, NotServable
from registry.pull.hub import Hub, Listing
from registry.pull.pinned import Wanted

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
