"""`asset sign`: sign a model folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from asset.cli.loop import AsJson, Result, perform

PASSWORD = "ASSET_SIGN_PASSWORD"  # noqa: S105  the name of a variable


def sign(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The model folder that will be served.")],
    key: Annotated[
        Path,
        typer.Option(
            "--key",
            metavar="FILE",
            help="The private key (PEM), on curve P-256, P-384 or P-521. It must be outside of the folder.",
        ),
    ],
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="FILE", help="The certificate of the key, for signing code (PEM)."),
    ] = None,
    chain: Annotated[
        list[Path] | None,
        typer.Option(
            "--certificate-chain",
            metavar="FILE",
            help="A certificate between the key's certificate and the root (PEM). Repeat it for more.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sign a model folder, so that a server can check that it has the same files as you.

    The signature is the file model.sig in the folder, in the format of the model-signing package (OpenSSF). It lists the
    SHA-256 of each file, except the folder .compiled, which each machine makes for itself, and git's own files. Sign last:
    whatever changes a file, such as `asset package`, makes the signature invalid. This needs no network.

    If the key has a password, put it in the environment variable ASSET_SIGN_PASSWORD.

    Exit status: 0 if the folder is signed, 1 if the disk failed, 2 if nothing was signed, 130 if it was interrupted.

    **Examples**

        openssl ecparam -name prime256v1 -genkey -noout -out signer.pem

        openssl pkey -in signer.pem -pubout -out signer.pub

        asset sign model/bert-base-cased --key signer.pem

        BERT_SERVING_SIGNATURE_KEY=signer.pub make serve        # serves only what that key signed
    """
    perform(lambda _: _sign(folder, key, certificate, chain or []), as_json)


def _sign(folder: Path, key: Path, certificate: Path | None, chain: list[Path]) -> Result:
    from asset.findings import shown
    from asset.models.signing import Signer, sign

    signed = sign(folder, Signer(key, certificate, tuple(chain), os.environ.get(PASSWORD)))
    answer = {"folder": str(signed.folder), "signature": str(signed.signature), "files": list(signed.files)}
    text = f"{shown(signed.folder)}: {len(signed.files)} files signed, {shown(signed.signature)}\n"
    return Result({"status": "signed"} | answer, text)
