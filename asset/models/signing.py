"""Sign and verify a model folder: with the model-signing package, and with the checks of our server."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from model_signing import hashing, signing, verifying

from asset.findings import shown
from asset.models.errors import ModelError, NotVerified, RequestError
from serving.errors import ModelFolderError, SignatureError
from serving.model.model_folder import find_checkpoint
from serving.model.signature import CACHE, LEFT_OUT, NAME, differences, entries, signed_files

UNFINISHED = f".{NAME}.partial"


@dataclass(frozen=True)
class Signer:
    """The key to sign with: a private key (PEM, elliptic curve), and its certificate with those up to the root, if it has one."""

    key: Path
    certificate: Path | None = None
    chain: Sequence[Path] = ()
    password: str | None = None


@dataclass(frozen=True)
class Trusted:
    """The signature to trust: of a public key (PEM), or of a certificate that one of these roots vouches for."""

    key: Path | None = None
    chain: Sequence[Path] = ()


@dataclass(frozen=True)
class Signed:
    """A folder that is signed: its signature, and the files that it lists."""

    folder: Path
    signature: Path
    files: tuple[str, ...]


def sign(folder: Path, signer: Signer) -> Signed:
    """Sign all files of a model folder except its compiled graphs, which are made on each machine, and the files of git.

    The signature is there whole or not at all, and is read back before it takes the place of an older one. Raises
    ModelError.
    """
    try:
        checkpoint = find_checkpoint(folder).checkpoint
    except ModelFolderError as exc:
        raise RequestError("invalid", str(exc)) from exc
    if signer.key.resolve().is_relative_to(folder.resolve()):
        raise RequestError(
            "invalid", f"{shown(signer.key)}: expected a key outside of the folder, with which it would be given away"
        )
    left_out = [NAME, UNFINISHED, (checkpoint / CACHE).relative_to(folder).as_posix()]
    partial = folder / UNFINISHED
    config = _signing_config(signer)
    try:
        partial.unlink(missing_ok=True)
        links = _check_plain(folder, left_out)
        hashed = hashing.Config().set_ignored_paths(paths=[NAME, left_out[2]]).set_allow_symlinks(links)
        config.set_hashing_config(hashed)
        with _quiet():
            config.sign(folder, partial)
        listed, ignored = signed_files(partial, None)
        with tempfile.TemporaryDirectory() as place:
            signed_files(partial, _public_key(signer, Path(place)))
        _raise_differences(folder, differences(folder, listed, ignored | {UNFINISHED}))
        os.replace(partial, folder / NAME)
    except OSError as exc:
        raise ModelError(
            "not_writable", f"{shown(folder)}: expected to write {NAME} there, found: {exc.strerror or exc}"
        ) from exc
    except (ValueError, SignatureError, NotVerified) as exc:
        raise RequestError("invalid", f"{shown(folder)}: cannot be signed: {exc}") from exc
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return Signed(folder, folder / NAME, tuple(listed))


def verify(folder: Path, trusted: Trusted) -> Signed:
    """Verify that a folder has the files that were signed, no other file, and a trusted signature.

    NotVerified names each file that differs, is missing or was added; RequestError: there is no key to trust, or no folder.
    """
    if bool(trusted.key) == bool(trusted.chain):
        raise RequestError(
            "invalid",
            "expected the signature to trust, a public key or root certificates; name one of --key and --certificate-chain",
        )
    if not folder.is_dir():
        raise RequestError("invalid", f"{shown(folder)}: expected a model folder, found none")
    signature = folder / NAME
    if not os.path.lexists(signature):
        raise NotVerified(f"{shown(signature)}: expected a signature, found none; sign the folder with `asset sign`")
    try:
        listed, left_out = signed_files(signature, trusted.key)
        _raise_differences(folder, differences(folder, listed, left_out))
    except SignatureError as exc:
        raise NotVerified(str(exc)) from exc
    _check_kind(signature, trusted)
    try:
        with _quiet():
            # model-signing 1.1 loses what the signature says of links; links out of the folder are refused above.
            hashed = hashing.Config().set_ignored_paths(paths=[NAME]).set_allow_symlinks(True)
            _verifying_config(trusted).set_hashing_config(hashed).verify(folder, signature)
    # A bad certificate raises several kinds of errors, of OpenSSL or of cryptography.
    except Exception as exc:
        raise NotVerified(
            f"{shown(signature)}: expected a signature that is vouched for, found none: {str(exc) or type(exc).__name__}"
        ) from exc
    return Signed(folder, signature, tuple(listed))


def _signing_config(signer: Signer) -> signing.Config:
    config = signing.Config()
    try:
        if signer.certificate is None:
            password = signer.password.encode() if signer.password else None
            return config.use_elliptic_key_signer(private_key=signer.key, password=password)
        if signer.password:
            raise ValueError("a key with a password cannot be used with a certificate; `openssl pkey` takes it off")
        return config.use_certificate_signer(
            private_key=signer.key, signing_certificate=signer.certificate, certificate_chain=signer.chain
        )
    except OSError as exc:
        raise RequestError(
            "invalid", f"{shown(Path(exc.filename))}: expected a file that can be read ({exc.strerror})"
        ) from exc
    except (ValueError, TypeError, AttributeError) as exc:
        raise RequestError(
            "invalid",
            f"{shown(signer.key)}: expected a private key in PEM, on P-256, P-384 or P-521, found: {exc}; "
            "`openssl ecparam -name prime256v1 -genkey -noout` makes one",
        ) from exc


def _verifying_config(trusted: Trusted) -> verifying.Config:
    config = verifying.Config()
    if trusted.key:
        return config.use_elliptic_key_verifier(public_key=trusted.key)
    return config.use_certificate_verifier(certificate_chain=trusted.chain)


def _check_kind(signature: Path, trusted: Trusted) -> None:
    """Raise NotVerified if a certificate's signature is to be checked with a key, or the other way round."""
    material = json.loads(signature.read_bytes())["verificationMaterial"]
    by_key, by_certificate = (
        "a key's signature; name the key in --key",
        ("a certificate's signature; name whom you trust in --certificate-chain"),
    )
    if ("publicKey" in material) != bool(trusted.key):
        expected, signed_by = (by_key, by_certificate) if trusted.key else (by_certificate, by_key)
        raise NotVerified(f"{shown(signature)}: expected {expected.partition(';')[0]}, found {signed_by}")


def _public_key(signer: Signer, place: Path) -> Path:
    password = signer.password.encode() if signer.password else None
    key = load_pem_private_key(signer.key.read_bytes(), password).public_key()
    path = place / "public.pem"
    path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def _check_plain(folder: Path, left_out: Sequence[str]) -> bool:
    """Return whether there are links in a folder; raises ValueError for a link that leads out of it, or a device."""
    ignored = frozenset({*left_out, *LEFT_OUT})
    for sentence in differences(folder, {}, ignored):
        if not sentence.endswith("is not one of the signed files"):
            raise ValueError(f"{sentence}; put the file itself there")
    return any(path.is_symlink() for path in entries(folder, ignored))


def _raise_differences(folder: Path, found: Iterator[str]) -> None:
    sentences = tuple(found)
    if sentences:
        raise NotVerified(f"{shown(folder)}: it is not what was signed: {'; '.join(sentences)}", sentences)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the package's own prints off standard output, which is the command's."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
