"""The two keys of an endpoint: either opens it, so that one can be exchanged while clients use the other."""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from tables.whole_file import write_json

MISSING, WRONG = "key_auth_bad_header_forbidden", "key_auth_access_denied"
"""What Azure answers, as plain text with status 401, where the header is not as it should be, and where the key is wrong."""


@dataclass(frozen=True)
class Keys:
    """Secrets: they are in a file that its owner alone may read, in no log and no message."""

    primary: str
    secondary: str

    @classmethod
    def fresh(cls) -> Self:
        """Make new ones."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read them; raises OSError or ValueError where there are none."""
        return cls(**json.loads(path.read_bytes()))

    def __repr__(self) -> str:
        return "Keys(…)"

    def write(self, path: Path) -> None:
        """Write them for the owner's eyes alone."""
        write_json(path, asdict(self))

    def exchanged(self, which: str) -> Self:
        """Return them with a new one in the place of "primary" or "secondary"."""
        return replace(self, **{which: secrets.token_urlsafe(24)})

    def refusal(self, authorization: str | None) -> str | None:
        """Return why a request with this Authorization header is refused; None where it is let in.

        Comparing takes as long for a key that is nearly right as for one that is wrong from its start.
        """
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            return MISSING
        key = given.strip().encode(errors="surrogateescape")
        right = [hmac.compare_digest(key, known.encode()) for known in (self.primary, self.secondary)]
        return None if any(right) else WRONG
