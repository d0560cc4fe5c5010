"""`asset sign` and `asset verify`: wiring only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asset.cli.options import AsJson

signing_app = typer.Typer(rich_markup_mode="markdown")


@signing_app.command("sign")
def sign_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The model folder, as it will be served.")],
    key: Annotated[
        Path,
        typer.Option(
            "--key", metavar="FILE", help="The private key: PEM, on P-256, P-384 or P-521. Not in the folder."
        ),
    ],
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="FILE", help="The key's certificate, for signing code (PEM)."),
    ] = None,
    chain: Annotated[
        list[Path] | None,
        typer.Option(
            "--certificate-chain", metavar="FILE", help="Those between it and the root (PEM). Repeat it for more."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sign a model folder, so that a server can tell that it has the files that you had.

    The signature is the file model.sig in the folder, in the format of the model-signing package (OpenSSF): it lists the
    SHA-256 of each file. What is left out is .compiled, which is made on each machine, and git's own files. Sign last:
    `asset package` and all else that changes a file makes the signature wrong. No network is needed.

    A password of the key is taken from ASSET_SIGN_PASSWORD.

    Exit status: 0, 1 where the disk failed, 2 where nothing was signed, 130 where it was interrupted.

    **Examples**

        openssl ecparam -name prime256v1 -genkey -noout -out signer.pem

        openssl pkey -in signer.pem -pubout -out signer.pub

        asset sign model/bert-base-cased --key signer.pem

        BERT_SERVING_SIGNATURE_KEY=signer.pub make serve        # serves what that key signed, and nothing else
    """
    from asset.cli.sign import SignOptions
    from asset.cli.sign import sign_command as sign

    raise typer.Exit(sign(SignOptions(folder, key, certificate, tuple(chain or ()), as_json)))


@signing_app.command("verify")
def verify_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The model folder, with its model.sig.")],
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="FILE",
            envvar="BERT_SERVING_SIGNATURE_KEY",
            show_envvar=True,
            help="The public key (PEM) that it must be signed with.",
        ),
    ] = None,
    chain: Annotated[
        list[Path] | None,
        typer.Option(
            "--certificate-chain",
            metavar="FILE",
            help="Instead of a key, the certificates (PEM) that must vouch for the signer's. Repeat it for more.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that a model folder has the files that were signed and no others, and whose signature it is.

    Each file that differs, is missing or is too many is named. A server does the same when it starts, where the folder has
    a signature or BERT_SERVING_SIGNATURE_KEY names a key; it knows keys, no certificates. A certificate may have expired
    since: it has to have been good when it was new.

    Exit status: 0 it is what was signed, 1 it is not, 2 nothing was checked, 130 where it was interrupted.

    **Examples**

        asset verify model/bert-base-cased --key signer.pub

        asset verify model/bert-base-cased --certificate-chain company-root.pem --json | jq '.differences'
    """
    from asset.cli.sign import VerifyOptions
    from asset.cli.sign import verify_command as verify

    chains = tuple(chain or ())
    raise typer.Exit(verify(VerifyOptions(folder, None if chains else key, chains, as_json)))
