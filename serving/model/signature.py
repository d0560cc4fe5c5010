"""The signature of a model folder: its file `model.sig`, in the format of the model-signing package.

    a Sigstore bundle (JSON)
    └── a DSSE envelope: what was signed, and the signature of a key or of a certificate's key
        └── an in-toto statement: the SHA-256 of each file of the folder

`asset sign` writes it with that package, and any tool that writes the format may be used. Here a few lines read it with the
`cryptography` package of the inference server, because the model-signing package takes 0.3 s and 50 MB at each start, and
twenty more packages in the image. They read strictly: an unknown part makes a signature unusable.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from serving.errors import SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

NAME = "model.sig"

CACHE = ".compiled"
"""The folder of compiled models beside a checkpoint. It is not signed, and not used in a signed folder."""

LEFT_OUT = frozenset({NAME, ".git", ".gitattributes", ".github", ".gitignore"})
"""Names at the top of a folder that a signature may leave out, as nothing is served from them."""

MAX_BYTES = 16 << 20

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://model_signing/signature/v1.0"
CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}


class _OtherFormat(ValueError):
    """A part of a signature is not as the format requires."""


def signed_files(path: Path, key: Path | None) -> tuple[dict[str, str], frozenset[str]]:
    """Return the files that a signature lists, {"config.json": SHA-256 in hex, …}, and the names that it leaves out.

    With a key, the PEM file of an elliptic-curve public key, the signature must be by that key; without a key, the signer
    is not checked. Raises SignatureError, which names the signature or the key.
    """
    public = load_key(key) if key else None
    try:
        content = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
    except OSError as exc:
        raise SignatureError(f"{path}: expected a signature that can be read ({exc.strerror})") from exc
    try:
        payload, signature, hint = _envelope(_json(content))
        if public is not None:
            _check_signer(public, payload, signature, hint)
        return _statement(_json(payload))
    except (_OtherFormat, binascii.Error) as exc:
        raise SignatureError(f"{path}: {exc}; sign the folder anew with `asset sign`") from exc


def load_key(path: Path) -> EllipticCurvePublicKey:
    """Read a public key; raises SignatureError if the file is not an elliptic-curve key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as exc:
        raise SignatureError(f"{path}: expected a public key that can be read ({exc.strerror})") from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise SignatureError(
            f"{path}: expected a public key in PEM (-----BEGIN PUBLIC KEY-----), found none; "
            "`openssl pkey -in PRIVATE.pem -pubout`, or `openssl x509 -in CERTIFICATE.pem -pubkey -noout`, prints it"
        ) from exc
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise SignatureError(f"{path}: expected an elliptic-curve key (P-256, P-384 or P-521), found another kind")
    return key


def differences(root: Path, listed: dict[str, str], left_out: frozenset[str]) -> Iterator[str]:
    """Yield a sentence about each file that is not as listed, beginning with its name; raises SignatureError."""
    present = set()
    for path in entries(root, left_out):
        name = path.relative_to(root).as_posix()
        present.add(name)
        if not _is_file_inside(path, root):
            yield f"{name} is not a file in the folder, or leads out of it"
        elif name not in listed:
            yield f"{name} is not one of the signed files"
        elif _sha256(path) != listed[name]:
            yield f"{name} is not what was signed"
    for name in sorted(listed.keys() - present):
        yield f"{name} was signed and is missing"


def entries(root: Path, left_out: frozenset[str]) -> Iterator[Path]:
    """Yield all entries below a folder that are not folders, with links to folders; raises SignatureError."""
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as scanned:
                inside = sorted(scanned, key=lambda entry: entry.name)
        except OSError as exc:
            raise SignatureError(f"{folder}: expected a folder that can be read ({exc.strerror})") from exc
        for entry in inside:
            path = folder / entry.name
            if path.relative_to(root).as_posix() in left_out:
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            else:
                yield path


def _is_file_inside(path: Path, root: Path) -> bool:
    try:
        return path.is_file() and path.resolve(strict=True).is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a link to itself
        return False


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise SignatureError(f"{path}: expected a file that can be read ({exc.strerror})") from exc


def _json(content: bytes) -> Any:  # noqa: ANN401 - any JSON value
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise _OtherFormat("a key is there twice")
        return dict(pairs)

    try:
        return json.loads(content, object_pairs_hook=once)
    except _OtherFormat:
        raise
    except (ValueError, RecursionError) as exc:
        raise _OtherFormat("expected JSON, found something else") from exc


def _part(value: object, required: set[str], optional: set[str], name: str) -> dict[str, Any]:
    """Return a JSON object after checking that it has all required keys, and no keys except the optional ones."""
    if not isinstance(value, dict) or not required <= value.keys() <= required | optional:
        keys = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise _OtherFormat(f"expected {', '.join(sorted(required))} as {name}, found {keys}")
    return value


def _expect(found: object, expected: object, name: str) -> None:
    if found != expected or type(found) is not type(expected):
        raise _OtherFormat(f"expected {name} {expected!r}, found {found!r}")


def _bytes(text: object, name: str) -> bytes:
    """Decode base64 that is written in its canonical form."""
    try:
        decoded = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        decoded = b""
    if not decoded or base64.b64encode(decoded).decode() != text:
        raise _OtherFormat(f"expected base64 as {name}, found something else")
    return decoded


def _envelope(bundle: object) -> tuple[bytes, bytes, str | None]:
    """Return the signed bytes, the signature, and the hash of the key if the bundle has one."""
    parts = _part(bundle, {"mediaType", "verificationMaterial", "dsseEnvelope"}, set(), "the signature's parts")
    _expect(parts["mediaType"], BUNDLE, "mediaType")
    kinds = {"publicKey", "x509CertificateChain"}
    material = _part(parts["verificationMaterial"], set(), kinds | {"tlogEntries"}, "verificationMaterial")
    _expect(material.get("tlogEntries", []), [], "tlogEntries")
    if len(kinds & material.keys()) != 1:
        raise _OtherFormat("expected the signature of a key or of a certificate, found another kind")
    hint = _part(material.get("publicKey", {}), set(), {"hint", "rawBytes", "keyDetails"}, "publicKey").get("hint")
    envelope = _part(parts["dsseEnvelope"], {"payload", "payloadType", "signatures"}, set(), "dsseEnvelope")
    _expect(envelope["payloadType"], PAYLOAD, "payloadType")
    signatures = envelope["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise _OtherFormat("expected one signature")
    signed = _part(signatures[0], {"sig"}, {"keyid"}, "the signature")
    _expect(signed.get("keyid", ""), "", "keyid")
    return _bytes(envelope["payload"], "payload"), _bytes(signed["sig"], "sig"), hint


def _check_signer(key: EllipticCurvePublicKey, payload: bytes, signature: bytes, hint: str | None) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    formats = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    if hint is not None and hint != hashlib.sha256(key.public_bytes(*formats)).hexdigest():
        raise _OtherFormat("expected a signature by the trusted key, found one by another key")
    signed = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)
    try:
        key.verify(signature, signed, ECDSA(getattr(hashes, CURVES[key.curve.name])()))
    except InvalidSignature as exc:
        raise _OtherFormat("the signature is not by the trusted key") from exc


def _statement(value: object) -> tuple[dict[str, str], frozenset[str]]:
    """Return the files that a statement lists, and the names that it leaves out."""
    statement = _part(value, {"_type", "subject", "predicateType", "predicate"}, set(), "the statement")
    _expect(statement["_type"], STATEMENT, "_type")
    _expect(statement["predicateType"], PREDICATE, "predicateType")
    # The format says that other keys are to be ignored.
    predicate = statement["predicate"]
    if not isinstance(predicate, dict) or not {"serialization", "resources"} <= predicate.keys():
        raise _OtherFormat("expected resources and serialization as predicate, found others")
    how = _part(
        predicate["serialization"], {"method", "hash_type"}, {"allow_symlinks", "ignore_paths"}, "serialization"
    )
    _expect(how["method"], "files", "serialization")
    _expect(how["hash_type"], "sha256", "hash_type")
    resources = predicate["resources"] if isinstance(predicate["resources"], list) else []
    listed = dict(_resource(resource) for resource in resources)
    if not listed or len(listed) < len(resources):
        raise _OtherFormat("expected a list of files, each once")
    root = hashlib.sha256(b"".join(map(bytes.fromhex, listed.values()))).hexdigest()
    subject = statement["subject"]
    digests = [entry.get("digest") if isinstance(entry, dict) else None for entry in subject or ()]
    _expect(digests, [{"sha256": root}], "subject")
    return listed, _left_out(how.get("ignore_paths", []))


def _resource(value: object) -> tuple[str, str]:
    resource = _part(value, {"name", "algorithm", "digest"}, set(), "a file")
    name, digest = resource["name"], resource["digest"]
    _expect(resource["algorithm"], "sha256", "algorithm")
    if not isinstance(name, str) or not _is_inside(name):
        raise _OtherFormat(f"expected the name of a file in the folder, found {name!r}")
    if not isinstance(digest, str) or len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise _OtherFormat(f"expected a SHA-256, found {digest!r}")
    return name, digest


def _left_out(names: object) -> frozenset[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _OtherFormat(f"expected names as ignore_paths, found {names!r}")
    for name in names:
        if name not in LEFT_OUT and not (_is_inside(name) and PurePosixPath(name).name == CACHE):
            raise _OtherFormat(f"expected all of the folder to be signed, found {name!r} left out")
    return frozenset(names) | {NAME}


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return path.as_posix() == name and not path.is_absolute() and ".." not in path.parts and name != "."
