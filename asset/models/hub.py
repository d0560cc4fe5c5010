"""What the hub lists of a commit, where its files are, and its errors as ours: the one place that translates them.

HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE and the variables of proxies count, as huggingface_hub reads them.

How long to keep trying where a hub or the way to it fails for a while.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from asset.models import errors
from asset.models.errors import HubDown, NoHash, Offline, PullError, RequestError, WrongHash, WrongSize
from finetune.prepare.hub import Fault, Problem, is_of_the_hub, no_name, problem, without_password

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Statuses after which the same request may be answered."""


@dataclass(frozen=True)
class Patience:
    """So many tries with nothing gained in between; waits in seconds, each twice the one before it.

    A hub that asks for a longer wait than `longest_asked` is not waited for: the message passes that on.
    """

    tries: int = 5
    first: float = 1.0
    longest: float = 20.0
    longest_asked: float = 120.0

    def after(self, problem: Problem, failed: int) -> float | None:
        """Return how long to wait once `failed` tries in a row came to nothing; None where there is no use in it."""
        passing = problem.fault in ("cut", "unreachable") or problem.status in PASSING
        if not passing or failed >= self.tries:
            return None
        if problem.retry_after is not None:
            return problem.retry_after if problem.retry_after <= self.longest_asked else None
        return min(self.first * 2 ** (failed - 1), self.longest)

    def wait(self, problem: Problem, failed: int, told: Callable[[str], None]) -> bool:
        """Wait, and say so; returns whether to try again."""
        seconds = self.after(problem, failed)
        if seconds is None:
            return False
        found = {"cut": "the connection was cut", "unreachable": "the hub cannot be reached"}.get(
            problem.fault, f"the hub answers {problem.status}"
        )
        told(f"{found}; trying again in {seconds:g} s")
        time.sleep(seconds)
        return True


T = TypeVar("T")
BLOCK = 1 << 20
KINDS: dict[Fault, type[PullError]] = {
    "offline": errors.Offline,
    "gated": errors.Denied,
    "denied": errors.Denied,
    "no_revision": errors.NotFound,
    "no_repository": errors.NotFound,
    "status": errors.HubDown,
    "unreachable": errors.Unreachable,
    "place": errors.NotWritable,
    "cut": errors.ConnectionCut,
}


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it. Large ones have a SHA-256, small ones the SHA-1 of git's blob."""

    name: str
    size: int
    sha256: str | None
    git: str | None

    @property
    def key(self) -> str:
        """Return what stands for the content."""
        return self.sha256 or self.git or ""

    def check(self, path: Path, whose: str) -> str:
        """Compare a file with what is listed; returns its SHA-256. Raises WrongSize or WrongHash."""
        size = path.stat().st_size
        if size != self.size:
            raise WrongSize(
                f"{whose}: expected {self.size:,} bytes of {self.name}, as it lists, found {size:,}; {AGAIN}"
            )
        content, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        with path.open("rb") as file:
            for block in iter(lambda: file.read(BLOCK), b""):
                content.update(block)
                if self.sha256 is None:
                    blob.update(block)
        found = blob.hexdigest() if self.sha256 is None else content.hexdigest()
        if found != self.key:
            kind = "the git SHA-1" if self.sha256 is None else "SHA-256"
            raise WrongHash(f"{whose}: expected {kind} {self.key} of {self.name}, as it lists, found {found}; {AGAIN}")
        return content.hexdigest()

    def is_at(self, path: Path | None) -> bool:
        """Return whether a file here is this one."""
        if path is None or not path.is_file():
            return False
        try:
            self.check(path, "")
        except (WrongSize, WrongHash, OSError):
            return False
        return True


AGAIN = "nothing of it is kept: pull again, and where that gives the same, from another mirror (HF_ENDPOINT)"


@dataclass(frozen=True)
class Listing:
    """A commit: the repository by its present name, all names of files, and what is known of them so far."""

    repository: str
    commit: str
    names: tuple[str, ...]
    files: dict[str, RemoteFile] = field(default_factory=dict)
    snapshot: Path | None = None
    """The folder in the hub's cache, where the listing is of that."""


@dataclass(frozen=True)
class Hub:
    """The hub, or a mirror of it: its address, the cache that huggingface_hub keeps, and how patient we are."""

    endpoint: str
    cache: Path
    offline: bool = False
    timeout: float = 10.0
    """Seconds without a byte, after which a connection counts as cut."""
    patience: Patience = Patience()
    told: Callable[[str], None] = lambda text: None

    @property
    def host(self) -> str:
        """Return the address as it may be shown."""
        return without_password(self.endpoint)

    @classmethod
    def from_environment(cls, told: Callable[[str], None]) -> Hub:
        """Read the environment as huggingface_hub does."""
        from huggingface_hub import constants

        timeout = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
        offline = constants.is_offline_mode()
        return cls(constants.ENDPOINT, Path(constants.HF_HUB_CACHE), offline, timeout, told=told)

    def listing(self, repository: str, revision: str) -> Listing:
        """Ask what a revision has; raises PullError."""
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.endpoint)
        try:
            info = self.ask(
                lambda: api.model_info(repository, revision=revision, files_metadata=True, timeout=self.timeout),
                repository,
                revision,
            )
        except (ValueError, KeyError, TypeError) as exc:
            raise HubDown(
                f"{repository}: expected what a hub answers from {self.host}, found another page; check HF_ENDPOINT "
                "and the proxy"
            ) from exc
        siblings = info.siblings or []
        files = {
            one.rfilename: RemoteFile(one.rfilename, one.size, one.lfs.sha256 if one.lfs else None, one.blob_id)
            for one in siblings
            if one.size is not None and (one.lfs or one.blob_id)
        }
        commit = info.sha or ""
        if not re.fullmatch(r"[0-9a-f]{40}", commit) or (
            re.fullmatch(r"[0-9a-f]{40}", revision) and commit != revision
        ):
            raise HubDown(
                f"{repository}: expected commit {revision} of {self.host}, found it answers with {commit or 'none'}; "
                "pull from another mirror (HF_ENDPOINT)"
            )
        return Listing(info.id or repository, commit, tuple(one.rfilename for one in siblings), files)

    def file(self, listing: Listing, name: str) -> RemoteFile:
        """Return what is listed of a file, asked for by itself where the mirror's list lacks it; raises PullError."""
        if name in listing.files:
            return listing.files[name]
        from huggingface_hub import get_hf_file_metadata

        url = self.url(listing, name)
        found = self.ask(
            lambda: get_hf_file_metadata(
                url, timeout=self.timeout, endpoint=self.endpoint, token=None, headers=self.headers()
            ),
            listing.repository,
            listing.commit,
        )
        return self._hashed(name, found.size, found.etag or "")

    def cached(self, wanted: Sequence[str], revision: str) -> Listing | None:
        """Return what huggingface_hub's cache has of a revision, under one of the repository's names; None for nothing."""
        from huggingface_hub import try_to_load_from_cache

        for repository in wanted:
            found = try_to_load_from_cache(repository, "config.json", cache_dir=self.cache, revision=revision)
            if isinstance(found, str):
                snapshot = Path(found).parent
                names = tuple(sorted(path.name for path in snapshot.iterdir() if path.is_file()))
                return Listing(repository, snapshot.name, names, snapshot=snapshot)
        return None

    def places_in_cache(self, repositories: Sequence[str], listing: Listing, name: str) -> Iterator[Path]:
        """Yield where the cache may have a file of a commit."""
        from huggingface_hub import try_to_load_from_cache

        for repository in dict.fromkeys((listing.repository, *repositories)):
            found = try_to_load_from_cache(repository, name, cache_dir=self.cache, revision=listing.commit)
            if isinstance(found, str):
                yield Path(found)

    def file_in_cache(self, listing: Listing, name: str) -> RemoteFile:
        """Return what the cache knows of a file of its: the hub's hash is what it calls the content by."""
        path = (listing.snapshot or self.cache) / name
        return self._hashed(name, path.stat().st_size, os.path.basename(os.readlink(path)) if path.is_symlink() else "")

    def url(self, listing: Listing, name: str) -> str:
        """Return where a file is."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(listing.repository, name, revision=listing.commit, endpoint=self.endpoint)

    def headers(self) -> dict[str, str]:
        """Return the headers of a request: the token, where there is one, and who asks."""
        from huggingface_hub.utils import build_hf_headers

        # A part of a compressed answer would be a part of other bytes.
        return {**build_hf_headers(library_name="asset-pull"), "Accept-Encoding": "identity"}

    def ask(self, act: Callable[[], T], repository: str, revision: str) -> T:
        """Do what asks the hub, and again where its answer may be another one soon; raises PullError."""
        from huggingface_hub.errors import HFValidationError

        failed = 0
        while True:
            try:
                return act()
            except HFValidationError as exc:
                raise RequestError(f"--model-id: {no_name(repository)}") from exc
            except Exception as exc:
                if not is_of_the_hub(exc):
                    raise
                found = self.problem(exc, repository, revision)
                failed += 1
                # What cannot be reached at all is told at once.
                if found.fault == "unreachable" or not self.patience.wait(found, failed, self.told):
                    raise self.error(found, repository) from exc

    def problem(self, error: BaseException, repository: str, revision: str) -> Problem:
        """Say what an error is."""
        return problem(error, repository, revision=revision, host=self.endpoint)

    def error(self, found: Problem, repository: str) -> PullError:
        """Return the error of ours that a problem is."""
        if found.status == 429:
            return errors.RateLimited(found.message)
        if found.fault == "unreachable":
            reason = found.message.partition("(")[2].rpartition(")")[0]
            return errors.Unreachable(
                f"{repository}: expected a hub at {self.host}, found no way to it ({reason}); check the connection, and "
                "HF_ENDPOINT for another mirror; a pull goes on from where it was"
            )
        return KINDS[found.fault](found.message)

    def offline_error(self, repository: str, revision: str, found: Sequence[str]) -> Offline:
        """Return the error of a model that is not all in the cache."""
        return Offline(
            f"{repository}: expected all of {revision} in the hub's cache at {self.cache}, as HF_HUB_OFFLINE is set, found "
            f"{', '.join(found) or 'none of it'}; unset that once, or set HF_HOME to where it is"
        )

    def _hashed(self, name: str, size: int | None, etag: str) -> RemoteFile:
        if size is None or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", etag):
            raise NoHash(
                f"{name}: expected the hub to list its size and hash, found {size} and {etag or 'none'}; what cannot be "
                "checked is not pulled: pull from another mirror (HF_ENDPOINT)"
            )
        return RemoteFile(name, size, etag, None) if len(etag) == 64 else RemoteFile(name, size, None, etag)
