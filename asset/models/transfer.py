"""Bring the bytes of a file here, however often the connection is cut; what has come is kept for the next call.

Not through huggingface_hub's own download: since version 2 that begins anew with each call, as it removes what came
where a call ends without success, and it gives up where a connection is reset or the host of large files answers 503.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from asset.models.errors import HubDown, NotFound, WrongSize
from asset.models.hub import AGAIN, Hub, Listing, RemoteFile
from finetune.prepare.hub import is_of_the_hub

if TYPE_CHECKING:
    from httpx2 import Response


def transfer(hub: Hub, listing: Listing, file: RemoteFile, part: Path, came: Callable[[int], None]) -> bool:
    """Bring a file's bytes into `part`, from where that ends; returns whether they came in pieces, now or before.

    `came` is called with how many bytes came, and with less than zero where some are given up. Raises PullError;
    OSError where the disk fails.
    """
    part.touch()
    pieces, failed = 2 if part.stat().st_size else 0, 0
    while (have := part.stat().st_size) < file.size:
        pieces += 1
        try:
            _request(hub, listing, file, part, came)
        except Exception as exc:
            # An error of the disk has a number; those of the hub and the connection that are an OSError have none.
            if not is_of_the_hub(exc) or getattr(exc, "errno", None) is not None:
                raise
            failed = 1 if part.stat().st_size > have else failed + 1
            found = hub.problem(exc, listing.repository, listing.commit)
            if hub.patience.wait(found, failed, hub.told):
                continue
            error = hub.error(found, listing.repository)
            if isinstance(error, NotFound):
                error = HubDown(f"{listing.repository}: expected {file.name}, as it lists, found none; try again later")
            raise error from exc
    return pieces > 1


def _request(hub: Hub, listing: Listing, file: RemoteFile, part: Path, came: Callable[[int], None]) -> None:
    """Ask once for what is missing, and write it as it comes."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import hf_raise_for_status

    have = part.stat().st_size
    headers = hub.headers() | ({"Range": f"bytes={have}-"} if have else {})
    with get_session().stream("GET", hub.url(listing, file.name), headers=headers, timeout=hub.timeout) as response:
        usable = response.status_code != 416
        if usable:
            hf_raise_for_status(response)
        with part.open("r+b") as out:
            if usable and _start(response) == have:
                out.seek(have)
            else:
                # The whole file in the place of a part of it, or a part that was not asked for.
                came(-have)
                out.truncate()
                if not usable or _start(response) != 0:
                    return _refuse_unless(have > 0, listing, file)
            _write(listing, file, response, out, came)
    return None


def _refuse_unless(part: bool, listing: Listing, file: RemoteFile) -> None:
    """Go on where a part was asked for: the whole file is asked for next. Raises HubDown where it was."""
    if not part:
        raise HubDown(f"{listing.repository}: expected {file.name} from its start, found a part of it; try again later")


def _write(listing: Listing, file: RemoteFile, response: Response, out: BinaryIO, came: Callable[[int], None]) -> None:
    announced = _announced(response)
    if announced not in (None, file.size):
        raise _wrong_size(listing, file, f"{announced:,}")
    for block in response.iter_bytes():
        if out.tell() + len(block) > file.size:
            raise _wrong_size(listing, file, "more")
        out.write(block)
        came(len(block))
    if out.tell() < file.size:
        raise _wrong_size(listing, file, f"{out.tell():,}")


def _wrong_size(listing: Listing, file: RemoteFile, found: str) -> WrongSize:
    return WrongSize(
        f"{listing.repository}: expected {file.size:,} bytes of {file.name}, as it lists, found {found}; {AGAIN}"
    )


def _start(response: Response) -> int:
    """Return the place in the file at which an answer begins; -1 where it does not say."""
    if response.status_code != 206:
        return 0
    first = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdecimal() else -1


def _announced(response: Response) -> int | None:
    """Return the size of the whole file, where an answer says it."""
    if response.status_code == 206:
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        encoded = response.headers.get("Content-Encoding", "identity") != "identity"
        size = "" if encoded else response.headers.get("Content-Length", "")
    return int(size) if size.isdecimal() else None
