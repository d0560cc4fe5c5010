"""Fetch files of a model or a data set into the hub's cache, checked, going on from the bytes of an earlier try.

    python -m asset.models.fetch google-bert/bert-base-cased config.json "model*.safetensors"

prints a line of JSON: the folder, the commit and the names of all files of the repository, or the code and the message of
an error. Fine-tuning runs this command for its base models and data sets, and so imports nothing of the package asset.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

from filelock import FileLock
from tqdm import tqdm

from asset.models.errors import ModelError, disk_error
from asset.models.hub import BRANCH, Hub, Listing, RemoteFile
from asset.models.hub_problems import Kind
from asset.models.transfer import obtain


@dataclass(frozen=True)
class Fetched:
    """A commit's folder in the hub's cache, and the names of all files of the commit, fetched or not."""

    folder: Path
    commit: str
    names: tuple[str, ...]


def fetch(
    hub: Hub, repository: str, patterns: Sequence[str], kind: Kind = "model", revision: str | None = None
) -> Fetched:
    """Fetch the files of a repository that suit a pattern; raises ModelError.

    Without a network (HF_HUB_OFFLINE) the files that are in the cache are taken.
    """
    revision = revision or BRANCH
    if hub.offline:
        return _in_cache(hub, repository, patterns, kind, revision)
    listing = hub.listing(repository, revision, kind)
    names = [name for name in listing.names if _suits(name, patterns)]
    folder = hub.cache_folder(repository, kind)  # by the name that was asked for, which is looked up without a network
    try:
        for path in (folder / "blobs", folder / "refs"):
            path.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "asset.lock"):
            for name in names:
                _fetch_file(hub, listing, hub.file(listing, name), folder)
            if revision != listing.commit:
                branch = folder / "refs" / revision
                branch.parent.mkdir(parents=True, exist_ok=True)
                branch.write_text(listing.commit, encoding="utf-8")
    except OSError as exc:
        raise disk_error(exc, folder, "set HF_HOME to another folder") from exc
    return Fetched(folder / "snapshots" / listing.commit, listing.commit, listing.names)


def _in_cache(hub: Hub, repository: str, patterns: Sequence[str], kind: Kind, revision: str) -> Fetched:
    listing = hub.cached([repository], revision, kind)
    if listing is None or listing.snapshot is None or not any(_suits(name, patterns) for name in listing.names):
        raise hub.offline_error(repository, revision, listing.names if listing else ())
    return Fetched(listing.snapshot, listing.commit, listing.names)


def _fetch_file(hub: Hub, listing: Listing, file: RemoteFile, folder: Path) -> None:
    """Put a file into the cache as huggingface_hub does: the content by its hash, and a link to it by its name."""
    blob, link = folder / "blobs" / file.key, folder / "snapshots" / listing.commit / file.name
    if not file.is_at(blob):
        part = blob.with_name(f"{file.key}.part")
        start = part.stat().st_size if part.exists() else 0
        with tqdm(total=file.size, initial=start, desc=file.name, unit="B", unit_scale=True, disable=None) as bar:
            obtain(hub, listing, file, part, bar.update)
        part.replace(blob)
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))


def _suits(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a name suits a pattern, folder by folder; a name that leads out of its folder suits none.

    >>> _suits("data/train-0.parquet", ["data/train-*.parquet"]), _suits("a-/../../x.json", ["a-*.json"])
    (True, False)
    """
    parts = name.split("/")
    if {"", ".", ".."} & set(parts):
        return False
    return any(
        len(parts) == len(pattern.split("/")) and all(map(fnmatchcase, parts, pattern.split("/")))
        for pattern in patterns
    )


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; the exit status is that of the error."""
    parser = argparse.ArgumentParser(
        "python -m asset.models.fetch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("repository", help="the repository, such as google-bert/bert-base-cased")
    parser.add_argument("patterns", nargs="+", metavar="PATTERN", help="the files, such as data/train-*.parquet")
    parser.add_argument("--kind", choices=get_args(Kind), default="model", help="(model)")
    parser.add_argument("--revision", help="a commit, branch or tag (main)")
    args = parser.parse_args(argv)
    hub = Hub.from_environment(lambda text: print(text, file=sys.stderr))  # noqa: T201 - a line a wait
    try:
        fetched = fetch(hub, args.repository, args.patterns, args.kind, args.revision)
    except ModelError as exc:
        sys.stdout.write(json.dumps({"code": exc.code, "message": str(exc)}) + "\n")
        return exc.status
    except KeyboardInterrupt:
        return 130
    answer = {"folder": str(fetched.folder), "commit": fetched.commit, "names": fetched.names}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
