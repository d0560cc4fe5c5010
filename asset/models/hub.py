"""The Hugging Face hub, or a mirror of it: the files of a commit with their sizes and hashes, and the hub's cache.

HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE and the variables of proxies count, as huggingface_hub reads them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from asset.models.errors import ModelError, NotAsListed
from asset.models.hub_problems import Kind, Patience, Problem, invalid_name, is_of_the_hub, problem, without_password

T = TypeVar("T")
BLOCK = 1 << 20
COMMIT = re.compile(r"[0-9a-f]{40}")
BRANCH = "main"
AGAIN = "no byte of it is kept: try again, and if the result is the same, use another mirror (HF_ENDPOINT)"


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it. A large file has a SHA-256, a small file the SHA-1 of git's blob."""

    name: str
    size: int
    sha256: str | None
    git: str | None

    @property
    def key(self) -> str:
        """Return the hash of the content, by which huggingface_hub's cache calls it too."""
        return self.sha256 or self.git or ""

    def check(self, path: Path, repository: str) -> str:
        """Compare a file with the listing; returns its SHA-256. Raises NotAsListed."""
        size = path.stat().st_size
        if size != self.size:
            raise self.wrong_size(repository, f"{size:,}")
        content, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        with path.open("rb") as file:
            for block in iter(lambda: file.read(BLOCK), b""):
                content.update(block)
                if self.sha256 is None:
                    blob.update(block)
        digest = blob.hexdigest() if self.sha256 is None else content.hexdigest()
        if digest != self.key:
            kind = "the git SHA-1" if self.sha256 is None else "SHA-256"
            raise NotAsListed(
                "wrong_hash",
                f"{repository}: expected {kind} {self.key} of {self.name}, as it lists, found {digest}; {AGAIN}",
            )
        return content.hexdigest()

    def wrong_size(self, repository: str, size: str) -> NotAsListed:
        """Return the error for another number of bytes than listed."""
        return NotAsListed(
            "wrong_size",
            f"{repository}: expected {self.size:,} bytes of {self.name}, as it lists, found {size}; {AGAIN}",
        )

    def is_at(self, path: Path | None) -> bool:
        """Return whether a file on this machine has the listed content."""
        if path is None or not path.is_file():
            return False
        try:
            self.check(path, "")
        except (NotAsListed, OSError):
            return False
        return True


@dataclass(frozen=True)
class Listing:
    """A commit: the repository by its present name, the names of all files, and the files whose hash is known so far."""

    repository: str
    commit: str
    names: tuple[str, ...]
    kind: Kind = "model"
    files: dict[str, RemoteFile] = field(default_factory=dict)
    snapshot: Path | None = None
    """The commit's folder in the hub's cache, if the listing is made from the cache."""


@dataclass(frozen=True)
class Hub:
    """The hub, or a mirror of it: its address, the cache that huggingface_hub keeps, and how long to keep trying."""

    endpoint: str
    cache: Path
    offline: bool = False
    timeout: float = 10.0
    """Seconds without a byte, after which a connection counts as cut."""
    patience: Patience = Patience()
    note: Callable[[str], None] = lambda text: None

    @classmethod
    def from_environment(cls, note: Callable[[str], None]) -> Hub:
        """Read the environment as huggingface_hub does."""
        from huggingface_hub import constants

        timeout = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
        return cls(constants.ENDPOINT, Path(constants.HF_HUB_CACHE), constants.is_offline_mode(), timeout, note=note)

    def listing(self, repository: str, revision: str, kind: Kind = "model") -> Listing:
        """Ask for the files of a revision; raises ModelError."""
        from huggingface_hub import HfApi

        api, host = HfApi(endpoint=self.endpoint), without_password(self.endpoint)
        try:
            info = self._ask(
                lambda: api.repo_info(
                    repository, revision=revision, repo_type=kind, files_metadata=True, timeout=self.timeout
                ),
                Listing(repository, revision, (), kind),
            )
        except (ValueError, KeyError, TypeError) as exc:
            raise ModelError(
                "hub_down",
                f"{repository}: expected what a hub answers from {host}, found another page; check HF_ENDPOINT and the proxy",
            ) from exc
        siblings = info.siblings or []
        files = {
            file.rfilename: RemoteFile(file.rfilename, file.size, file.lfs.sha256 if file.lfs else None, file.blob_id)
            for file in siblings
            if file.size is not None and (file.lfs or file.blob_id)
        }
        commit = info.sha or ""
        if not COMMIT.fullmatch(commit) or (COMMIT.fullmatch(revision) and commit != revision):
            raise ModelError(
                "hub_down",
                f"{repository}: expected commit {revision} of {host}, found it answers with {commit or 'none'}; use "
                "another mirror (HF_ENDPOINT)",
            )
        return Listing(info.id or repository, commit, tuple(file.rfilename for file in siblings), kind, files)

    def file(self, listing: Listing, name: str) -> RemoteFile:
        """Return a file of a listing; asks for its size and hash if they are not in the list. Raises ModelError."""
        if name in listing.files:
            return listing.files[name]
        if listing.snapshot is not None:
            path = listing.snapshot / name
            # huggingface_hub calls the content of a file by its hash.
            key = os.path.basename(os.readlink(path)) if path.is_symlink() else ""
            return self._hashed(name, path.stat().st_size, key)
        from huggingface_hub import get_hf_file_metadata

        url = self.url(listing, name)
        about = self._ask(
            lambda: get_hf_file_metadata(
                url, timeout=self.timeout, endpoint=self.endpoint, token=None, headers=self.headers()
            ),
            listing,
        )
        return self._hashed(name, about.size, about.etag or "")

    def cache_folder(self, repository: str, kind: Kind = "model") -> Path:
        """Return the folder of a repository in the hub's cache, as huggingface_hub calls it."""
        return self.cache / f"{kind}s--{repository.replace('/', '--')}"

    def cached(self, repositories: Sequence[str], revision: str, kind: Kind = "model") -> Listing | None:
        """Return the files of a revision in the hub's cache, under one of the repository's names; None if there are none."""
        for repository in repositories:
            folder = self.cache_folder(repository, kind)
            branch = folder / "refs" / revision
            commit = branch.read_text(encoding="utf-8").strip() if branch.is_file() else revision
            snapshot = folder / "snapshots" / commit
            if COMMIT.fullmatch(commit) and snapshot.is_dir():
                paths = sorted(path for path in snapshot.rglob("*") if path.is_file())
                names = tuple(path.relative_to(snapshot).as_posix() for path in paths)
                return Listing(repository, commit, names, kind, snapshot=snapshot)
        return None

    def places_in_cache(self, repositories: Sequence[str], listing: Listing, name: str) -> Iterator[Path]:
        """Yield the paths at which the cache may have a file of a commit."""
        for repository in dict.fromkeys((listing.repository, *repositories)):
            yield self.cache_folder(repository, listing.kind) / "snapshots" / listing.commit / name

    def url(self, listing: Listing, name: str) -> str:
        """Return the address of a file."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(
            listing.repository, name, revision=listing.commit, repo_type=listing.kind, endpoint=self.endpoint
        )

    def headers(self) -> dict[str, str]:
        """Return the headers of a request: the token, if there is one, and the name of the client."""
        from huggingface_hub.utils import build_hf_headers

        # A part of a compressed answer would be a part of other bytes.
        return {**build_hf_headers(library_name="asset-pull"), "Accept-Encoding": "identity"}

    def _ask(self, act: Callable[[], T], listing: Listing) -> T:
        """Ask the hub, again if its answer may soon be another; raises ModelError."""
        from huggingface_hub.errors import HFValidationError

        failed = 0
        while True:
            try:
                return act()
            except HFValidationError as exc:
                raise invalid_name(listing.repository, listing.kind) from exc
            except Exception as exc:
                if not is_of_the_hub(exc):
                    raise
                failure = self.problem(exc, listing)
                failed += 1
                # A hub that cannot be reached at all is reported at once.
                if failure.code == "unreachable" or not self.patience.wait(failure, failed, self.note):
                    raise failure.error() from exc

    def problem(self, error: BaseException, listing: Listing) -> Problem:
        """Describe an error of a request about a commit."""
        return problem(error, listing.repository, listing.kind, listing.commit, self.endpoint)

    def offline_error(self, repository: str, revision: str, names: Sequence[str]) -> ModelError:
        """Return the error for files that are not in the cache; `names` are those that are."""
        return ModelError(
            "offline",
            f"{repository}: expected all of {revision} in the hub's cache at {self.cache}, as HF_HUB_OFFLINE is set, found "
            f"{', '.join(names) or 'none of it'}; unset that once, or set HF_HOME to where it is",
        )

    def _hashed(self, name: str, size: int | None, key: str) -> RemoteFile:
        if size is None or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", key):
            raise ModelError(
                "no_hash",
                f"{name}: expected the hub to list its size and hash, found {size} and {key or 'none'}; a file that cannot "
                "be checked is not taken: use another mirror (HF_ENDPOINT)",
            )
        return RemoteFile(name, size, key, None) if len(key) == 64 else RemoteFile(name, size, None, key)
