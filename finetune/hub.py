"""Fetch files from the Hugging Face hub, and say in our words why that failed.

HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE count, as huggingface_hub reads them.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from finetune.prepared import FinetuneError

Kind = Literal["model", "dataset"]

LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)
"""The error numbers of a disk, not of a connection."""


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
        raise FinetuneError(
            f"expected the name of a {kind} on the Hugging Face hub, as owner/name, found {repository!r}"
        ) from exc
    except Exception as exc:
        if not _is_of_the_hub(exc):
            raise
        raise FinetuneError(_reason(repository, kind, revision, exc)) from exc


def file_names(repository: str, kind: Kind = "model", revision: str | None = None) -> list[str]:
    """Return the names of a repository's files, or none where they cannot be listed now."""
    import huggingface_hub

    try:
        return huggingface_hub.HfApi().list_repo_files(repository, repo_type=kind, revision=revision)
    except Exception as exc:
        if not _is_of_the_hub(exc):
            raise
        return []


def _is_of_the_hub(error: Exception) -> bool:
    """Tell an error of the hub, the connection or the disk from one of ours; they have no class in common."""
    theirs = ("huggingface_hub", "httpx2", "httpcore2", "hf_xet")
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in theirs


def _reason(repository: str, kind: Kind, revision: str | None, error: BaseException) -> str:
    from huggingface_hub import constants, errors

    host = constants.ENDPOINT
    chain = list(_causes(error))
    about = f"{repository}: expected a {kind} on {host}"
    if any(isinstance(cause, errors.OfflineModeIsEnabled) for cause in chain) or constants.HF_HUB_OFFLINE:
        return f"{repository}: expected it in the hub's cache, as HF_HUB_OFFLINE is set, found not all of it; unset that once"
    if any(isinstance(cause, errors.GatedRepoError) for cause in chain):
        return f"{about} that may be read, found one with terms to accept; accept them on its page and set HF_TOKEN"
    if any(isinstance(cause, errors.RevisionNotFoundError) for cause in chain):
        return f"{about}, found no revision {revision!r} of it; name another"
    status = next((cause.response.status_code for cause in chain if isinstance(cause, errors.HfHubHTTPError)), None)
    if status in (401, 403, 404):
        return (
            f"{about}, found none that may be read (status {status}); check the name, and set HF_TOKEN if it is private"
        )
    if status is not None:
        return f"{about}, found status {status}; try again later"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return f"no network: {host} cannot be reached ({_last(chain)}); check the connection, or give a folder"
    local = next((cause for cause in chain if isinstance(cause, OSError) and cause.errno in LOCAL), None)
    if local is not None:
        place = local.filename or constants.HF_HUB_CACHE
        return f"{place}: expected a place that can be written to, found: {local.strerror}; make room, or set HF_HOME"
    return f"{about}, found the connection cut ({_last(chain)}); try again, what is whole is kept"


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
