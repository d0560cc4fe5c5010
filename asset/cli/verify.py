"""`asset verify`: check the signature of a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asset.cli.loop import AsJson, Result, perform


def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The model folder, with its model.sig.")],
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="FILE",
            envvar="BERT_SERVING_SIGNATURE_KEY",
            show_envvar=True,
            help="The public key (PEM) of the signer.",
        ),
    ] = None,
    chain: Annotated[
        list[Path] | None,
        typer.Option(
            "--certificate-chain",
            metavar="FILE",
            help="Instead of a key, a certificate (PEM) that vouches for the signer's. Repeat it for more.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that a model folder has exactly the files that were signed, and who signed them.

    Names each file that changed, is missing or was added. A server checks the same when it starts, if the folder has a
    signature or BERT_SERVING_SIGNATURE_KEY names a key; a server takes keys, not certificates. A certificate may have
    expired since the signature was made; it must have been valid then.

    Exit status: 0 if the files are those that were signed, 1 if not, 2 if nothing was checked, 130 if it was interrupted.

    **Examples**

        asset verify model/bert-base-cased --key signer.pub

        asset verify model/bert-base-cased --certificate-chain company-root.pem --json | jq '.differences'
    """
    perform(lambda _: _verify(folder, key, chain or []), as_json)


def _verify(folder: Path, key: Path | None, chain: list[Path]) -> Result:
    from asset.findings import shown
    from asset.models.signing import Trusted, verify

    # The key may come from the environment; certificates on the command line take its place.
    verified = verify(folder, Trusted(None if chain else key, tuple(chain)))
    answer = {"folder": str(verified.folder), "signature": str(verified.signature), "files": list(verified.files)}
    text = f"{shown(verified.folder)}: {len(verified.files)} files verified, {shown(verified.signature)}\n"
    return Result({"status": "verified"} | answer, text)
