"""Errors of huggingface_hub, the connection and the disk in our words, and whether waiting can help."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from asset.models.errors import Code, ModelError, RequestError

Kind = Literal["model", "dataset"]

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Statuses after which the same request may be answered."""

LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)
"""Error numbers of a disk, not of a connection."""


@dataclass(frozen=True)
class Problem:
    """Why the hub did not give what was asked: the fault, the sentence for people, and the status of the answer."""

    code: Code
    message: str
    status: int | None = None
    retry_after: int | None = None
    """Seconds to wait, if the hub asks for them."""

    def error(self) -> ModelError:
        """Return the problem as an error."""
        return (RequestError if self.code == "not_found" else ModelError)(self.code, self.message)


@dataclass(frozen=True)
class Patience:
    """How often to try without a gain, and how long to wait in between: seconds, twice as many after each try.

    If a hub asks for a longer wait than `longest_asked`, there is no other try; the message passes the wait on.
    """

    tries: int = 5
    first: float = 1.0
    longest: float = 20.0
    longest_asked: float = 120.0

    def after(self, problem: Problem, failed: int) -> float | None:
        """Return how long to wait after `failed` tries in a row without a gain; None if another try is of no use."""
        passing = problem.code in ("connection_cut", "unreachable") or problem.status in PASSING
        if not passing or failed >= self.tries:
            return None
        if problem.retry_after is not None:
            return problem.retry_after if problem.retry_after <= self.longest_asked else None
        return min(self.first * 2 ** (failed - 1), self.longest)

    def wait(self, problem: Problem, failed: int, note: Callable[[str], None]) -> bool:
        """Wait, and say so; returns whether to try again."""
        seconds = self.after(problem, failed)
        if seconds is None:
            return False
        reason = {"connection_cut": "the connection was cut", "unreachable": "the hub cannot be reached"}.get(
            problem.code, f"the hub answers {problem.status}"
        )
        note(f"{reason}; trying again in {seconds:g} s")
        time.sleep(seconds)
        return True


def is_of_the_hub(error: BaseException) -> bool:
    """Return whether an error is of the hub, the connection or the disk; they have no class in common."""
    theirs = ("huggingface_hub", "httpx2", "httpcore2", "hf_xet")
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in theirs


def invalid_name(repository: str, kind: Kind) -> RequestError:
    """Return the error for a name that no repository can have."""
    return RequestError(
        "invalid", f"expected the name of a {kind} on the Hugging Face hub, as owner/name, found {repository!r}"
    )


def without_password(address: str) -> str:
    """Return an address without the user and the password in it.

    >>> without_password("https://me:secret@mirror.example.com/hf")
    'https://mirror.example.com/hf'
    """
    return re.sub(r"//[^/]*@", "//", address)


def problem(error: BaseException, repository: str, kind: Kind, revision: str, endpoint: str) -> Problem:
    """Describe an error of the hub, the connection or the disk."""
    from huggingface_hub import errors

    chain, host = _causes(error), without_password(endpoint)
    about = f"{repository}: expected a {kind} on {host}"
    if any(isinstance(cause, errors.GatedRepoError) for cause in chain):
        fix = "accept them on its page and set HF_TOKEN"
        return Problem("denied", f"{about} that may be read, found one with terms to accept; {fix}")
    if any(isinstance(cause, errors.RevisionNotFoundError) for cause in chain):
        return Problem("not_found", f"{about}, found no revision {revision!r} of it; name another")
    answered = next((cause for cause in chain if isinstance(cause, errors.HfHubHTTPError)), None)
    if answered is not None:
        return _answered(answered.response.status_code, answered.response.headers, about)
    return _unanswered(error, chain, about, f"{repository}: expected a hub at {host}")


def _answered(status: int, headers: Mapping[str, str], about: str) -> Problem:
    """Describe an answer that is an error."""
    if status in (401, 403, 404):
        fix = "check the name, and set HF_TOKEN if it is private"
        code: Code = "not_found" if status == 404 else "denied"
        return Problem(code, f"{about}, found none that may be read (status {status}); {fix}", status)
    seconds = _seconds_asked(headers)
    when = "later" if seconds is None else f"in {seconds:,} seconds, as it asks"
    fix = f"try again {when}{', and set HF_TOKEN, which it allows more' if status == 429 else ''}"
    code = "rate_limited" if status == 429 else "hub_down"
    return Problem(code, f"{about}, found status {status}; {fix}", status, seconds)


def _seconds_asked(headers: Mapping[str, str]) -> int | None:
    """Return how long an answer asks to wait: in Retry-After, or in the hub's own headers of its limits."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds
    asked = headers.get("Retry-After", "").strip()
    return int(asked) if asked.isdecimal() else None


def _unanswered(error: BaseException, chain: list[BaseException], about: str, hub: str) -> Problem:
    """Describe an error without an answer: of the way to the hub, or of this machine's disk."""
    from httpx2 import ConnectError, ConnectTimeout, ProxyError
    from huggingface_hub import constants, errors

    if isinstance(error, errors.LocalEntryNotFoundError | ConnectError | ConnectTimeout | ProxyError):
        fix = "check the connection, and HF_ENDPOINT for another mirror; another try goes on from the bytes that came"
        return Problem("unreachable", f"{hub}, found no way to it ({_last(chain)}); {fix}")
    local = next((cause for cause in chain if isinstance(cause, OSError) and cause.errno in LOCAL), None)
    if local is not None:
        place = local.filename or constants.HF_HUB_CACHE
        expected = f"{place}: expected a place that can be written to"
        return Problem("not_writable", f"{expected}, found: {local.strerror}; make room, or set HF_HOME")
    return Problem(
        "connection_cut", f"{about}, found the connection cut ({_last(chain)}); try again, the bytes that came are kept"
    )


def _causes(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _last(chain: list[BaseException]) -> str:
    """Return the class of the innermost error and the start of its message."""
    text = str(chain[-1]).strip().splitlines() or [""]
    return f"{type(chain[-1]).__name__}: {text[0][:120]}".rstrip(": ")
