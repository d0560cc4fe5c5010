"""Fetch files from the Hugging Face hub, and say in our words why that failed.

HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE count, as huggingface_hub reads them.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finetune.errors import FinetuneError

Kind = Literal["model", "dataset"]

Fault = Literal["offline", "gated", "no_revision", "no_repository", "denied", "status", "unreachable", "place", "cut"]

LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)
"""The error numbers of a disk, not of a connection."""


@dataclass(frozen=True)
class Problem:
    """Why something cannot be had of the hub: which fault it is, the sentence for people, and the answer's status."""

    fault: Fault
    message: str
    status: int | None = None
    retry_after: int | None = None
    """Seconds that the hub asks to wait, where it does."""


def fetch(repository: str, patterns: Sequence[str], kind: Kind = "model", revision: str | None = None) -> Path:
    """Fetch the files that suit a pattern into the hub's cache; returns the folder, which is called by its commit.

    Raises FinetuneError where the repository is not there, may not be read, or there is no network.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(
            huggingface_hub.snapshot_download(
                repository, repo_type=kind, revision=revision, allow_patterns=list(patterns), etag_timeout=20
            )
        )
    except HFValidationError as exc:
        raise FinetuneError(no_name(repository, kind)) from exc
    except Exception as exc:
        if not is_of_the_hub(exc):
            raise
        raise FinetuneError(problem(exc, repository, kind, revision).message) from exc


def file_names(repository: str, kind: Kind = "model", revision: str | None = None) -> list[str]:
    """Return the names of a repository's files, or none where they cannot be listed now."""
    import huggingface_hub

    try:
        return huggingface_hub.HfApi().list_repo_files(repository, repo_type=kind, revision=revision)
    except Exception as exc:
        if not is_of_the_hub(exc):
            raise
        return []


def is_of_the_hub(error: BaseException) -> bool:
    """Tell an error of the hub, the connection or the disk from one of ours; they have no class in common."""
    theirs = ("huggingface_hub", "httpx2", "httpcore2", "hf_xet")
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in theirs


def no_name(repository: str, kind: Kind = "model") -> str:
    """Return the message of a repository's name that cannot be one."""
    return f"expected the name of a {kind} on the Hugging Face hub, as owner/name, found {repository!r}"


def problem(
    error: BaseException, repository: str, kind: Kind = "model", revision: str | None = None, host: str | None = None
) -> Problem:
    """Say what an error of the hub, the connection or the disk is; `host` is the hub's address, by default HF_ENDPOINT."""
    from huggingface_hub import constants, errors

    chain = _causes(error)
    host = without_password(host or constants.ENDPOINT)
    about = f"{repository}: expected a {kind} on {host}"
    if any(isinstance(cause, errors.OfflineModeIsEnabled) for cause in chain) or constants.HF_HUB_OFFLINE:
        return Problem(
            "offline",
            f"{repository}: expected it in the hub's cache, as HF_HUB_OFFLINE is set, found not all of it; unset that once",
        )
    if any(isinstance(cause, errors.GatedRepoError) for cause in chain):
        fix = "accept them on its page and set HF_TOKEN"
        return Problem("gated", f"{about} that may be read, found one with terms to accept; {fix}")
    if any(isinstance(cause, errors.RevisionNotFoundError) for cause in chain):
        return Problem("no_revision", f"{about}, found no revision {revision!r} of it; name another")
    answered = next((cause for cause in chain if isinstance(cause, errors.HfHubHTTPError)), None)
    if answered is not None:
        return _answered(answered.response.status_code, answered.response.headers, about)
    return _unanswered(error, chain, about, host)


def without_password(address: str) -> str:
    """Return an address as it may be shown.

    >>> without_password("https://me:secret@mirror.example.com/hf")
    'https://mirror.example.com/hf'
    """
    return re.sub(r"//[^/]*@", "//", address)


def _answered(status: int, headers: Mapping[str, str], about: str) -> Problem:
    """Say what an answer that is an error means."""
    if status in (401, 403, 404):
        fix = "check the name, and set HF_TOKEN if it is private"
        fault: Fault = "no_repository" if status == 404 else "denied"
        return Problem(fault, f"{about}, found none that may be read (status {status}); {fix}", status)
    seconds = _seconds_asked(headers)
    when = "later" if seconds is None else f"in {seconds:,} seconds, as it asks"
    fix = f"try again {when}{', and set HF_TOKEN, which it allows more' if status == 429 else ''}"
    return Problem("status", f"{about}, found status {status}; {fix}", status, seconds)


def _seconds_asked(headers: Mapping[str, str]) -> int | None:
    """Return how long an answer asks to wait: in Retry-After, or in the hub's own headers of its limits."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds
    asked = headers.get("Retry-After", "").strip()
    return int(asked) if asked.isdecimal() else None


def _unanswered(error: BaseException, chain: list[BaseException], about: str, host: str) -> Problem:
    """Say what an error means that is no answer: of the way to the hub, or of this machine's disk."""
    from httpx2 import ConnectError, ConnectTimeout, ProxyError
    from huggingface_hub import constants, errors

    if isinstance(error, errors.LocalEntryNotFoundError | ConnectError | ConnectTimeout | ProxyError):
        fix = "check the connection, or give a folder"
        return Problem("unreachable", f"no network: {host} cannot be reached ({_last(chain)}); {fix}")
    local = next((cause for cause in chain if isinstance(cause, OSError) and cause.errno in LOCAL), None)
    if local is not None:
        place = local.filename or constants.HF_HUB_CACHE
        expected = f"{place}: expected a place that can be written to"
        return Problem("place", f"{expected}, found: {local.strerror}; make room, or set HF_HOME")
    return Problem("cut", f"{about}, found the connection cut ({_last(chain)}); try again, what is whole is kept")


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _last(chain: list[BaseException]) -> str:
    """Return the first line of what the innermost error says, without an address's query."""
    text = str(chain[-1]).strip().splitlines() or [""]
    return f"{type(chain[-1]).__name__}: {text[0][:120]}".rstrip(": ")
