"""Bring the bytes of a file here, checked, however often the connection is cut; bytes that came are kept for the next call.

huggingface_hub's own download is not used: since version 2 each call begins anew, because a call that fails removes its
bytes, and it gives up if a connection is reset or the host of large files answers 503.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from asset.models.errors import ModelError, NotAsListed
from asset.models.hub import Hub, Listing, RemoteFile
from asset.models.hub_problems import is_of_the_hub

if TYPE_CHECKING:
    from httpx2 import Response


def obtain(hub: Hub, listing: Listing, file: RemoteFile, part: Path, came: Callable[[int], None]) -> None:
    """Bring a file into `part`, going on from the bytes there, and check it; once more from its start if pieces do not fit.

    `came` is called with the number of bytes that came, and with a negative number if bytes are given up. Raises
    ModelError, and OSError if the disk fails.
    """
    try:
        in_pieces = _transfer(hub, listing, file, part, came)
        try:
            file.check(part, listing.repository)
        except NotAsListed as exc:
            if exc.code != "wrong_hash" or not in_pieces:
                raise
            hub.note(f"{file.name}, which came in pieces, is not as listed: fetching it anew")
            part.unlink()
            came(-file.size)
            _transfer(hub, listing, file, part, came)
            file.check(part, listing.repository)
    except NotAsListed:
        part.unlink(missing_ok=True)
        raise


def _transfer(hub: Hub, listing: Listing, file: RemoteFile, part: Path, came: Callable[[int], None]) -> bool:
    """Bring a file's bytes; returns whether they came in pieces, now or before."""
    url = hub.url(listing, file.name)
    part.touch()
    pieces, failed = 2 if part.stat().st_size else 0, 0
    while (have := part.stat().st_size) < file.size:
        pieces += 1
        try:
            _request(hub, url, listing, file, part, came)
        except Exception as exc:
            # An error of the disk has a number; an OSError of the hub or the connection has none.
            if not is_of_the_hub(exc) or getattr(exc, "errno", None) is not None:
                raise
            failed = 1 if part.stat().st_size > have else failed + 1
            problem = hub.problem(exc, listing)
            if hub.patience.wait(problem, failed, hub.note):
                continue
            if problem.code == "not_found":
                raise _missing(listing, file, "none") from exc
            raise problem.error() from exc
    return pieces > 1


def _request(hub: Hub, url: str, listing: Listing, file: RemoteFile, part: Path, came: Callable[[int], None]) -> None:
    """Ask once for the missing bytes, and write them as they come."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import hf_raise_for_status

    have = part.stat().st_size
    headers = hub.headers() | ({"Range": f"bytes={have}-"} if have else {})
    with get_session().stream("GET", url, headers=headers, timeout=hub.timeout) as response:
        usable = response.status_code != 416
        if usable:
            hf_raise_for_status(response)
        with part.open("r+b") as out:
            if usable and _start(response) == have:
                out.seek(have)
            else:
                # The whole file in place of a part of it, or another part than asked for.
                came(-have)
                out.truncate()
                if not usable or _start(response) != 0:
                    if not have:
                        raise _missing(listing, file, "a part of it from elsewhere")
                    return  # the whole file is asked for next
            _write(listing, file, response, out, came)


def _missing(listing: Listing, file: RemoteFile, found: str) -> ModelError:
    return ModelError(
        "hub_down", f"{listing.repository}: expected {file.name}, as it lists, found {found}; try again later"
    )


def _write(listing: Listing, file: RemoteFile, response: Response, out: BinaryIO, came: Callable[[int], None]) -> None:
    announced = _announced(response)
    if announced not in (None, file.size):
        raise file.wrong_size(listing.repository, f"{announced:,}")
    for block in response.iter_bytes():
        if out.tell() + len(block) > file.size:
            raise file.wrong_size(listing.repository, "more")
        out.write(block)
        came(len(block))
    if out.tell() < file.size:
        raise file.wrong_size(listing.repository, f"{out.tell():,}")


def _start(response: Response) -> int:
    """Return the place in the file at which an answer begins; -1 if the answer does not say."""
    if response.status_code != 206:
        return 0
    first = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdecimal() else -1


def _announced(response: Response) -> int | None:
    """Return the size of the whole file; None if the answer does not say."""
    if response.status_code == 206:
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        encoded = response.headers.get("Content-Encoding", "identity") != "identity"
        size = "" if encoded else response.headers.get("Content-Length", "")
    return int(size) if size.isdecimal() else None
