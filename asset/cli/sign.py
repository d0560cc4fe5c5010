"""`asset sign` and `asset verify`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asset.findings import shown
from asset.models.errors import NotVerified, SigningError
from asset.models.signing import Signed, Signer, Trusted, sign, verify
from asset.screen import SafeStream

PASSWORD = "ASSET_SIGN_PASSWORD"  # noqa: S105 - its name
INVALID, INTERRUPTED = 2, 130


@dataclass(frozen=True)
class SignOptions:
    """What `asset sign` was asked for."""

    folder: Path
    key: Path
    certificate: Path | None = None
    chain: tuple[Path, ...] = ()
    as_json: bool = False


@dataclass(frozen=True)
class VerifyOptions:
    """What `asset verify` was asked for."""

    folder: Path
    key: Path | None = None
    chain: tuple[Path, ...] = ()
    as_json: bool = False


def sign_command(options: SignOptions) -> int:
    """Sign a folder; return the exit status."""
    signer = Signer(options.key, options.certificate, options.chain, os.environ.get(PASSWORD))
    return _run(lambda: sign(options.folder, signer), "signed", options.as_json)


def verify_command(options: VerifyOptions) -> int:
    """Verify a folder; return the exit status."""
    return _run(lambda: verify(options.folder, Trusted(options.key, options.chain)), "verified", options.as_json)


def _run(act: Callable[[], Signed], done: str, as_json: bool) -> int:
    output = SafeStream(sys.stdout)
    status, told = 0, dict[str, Any]()
    try:
        signed = act()
        told = {"status": done, "folder": str(signed.folder), "signature": str(signed.signature)}
        told["files"] = list(signed.files)
        line = f"{shown(signed.folder)}: {len(signed.files)} files {done}, {shown(signed.signature)}\n"
    except KeyboardInterrupt:
        status, told = INTERRUPTED, {"status": "interrupted", "message": "interrupted"}
    except SigningError as exc:
        status = exc.status
        told = {"status": "invalid" if status == INVALID else "failed", "code": exc.code, "message": str(exc)}
        if isinstance(exc, NotVerified):
            told["differences"] = list(exc.differences)
    if status:
        sys.stderr.write(f"{told['message']}\n")
    if as_json:
        output.write(json.dumps(told, ensure_ascii=False) + "\n")
    elif not status:
        output.write(line)
    output.flush()
    return status
