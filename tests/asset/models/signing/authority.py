"""Keys and certificates to sign with, made anew."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)


def new_key(folder: Path, curve: str = "SECP256R1", password: bytes | None = None) -> tuple[Path, Path]:
    """Write a new private key and its public one, in PEM; return where."""
    folder.mkdir(parents=True, exist_ok=True)
    private, public = folder / "signer.pem", folder / "signer.pub"
    key = ec.generate_private_key(getattr(ec, curve)())
    locked = BestAvailableEncryption(password) if password else NoEncryption()
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@dataclass(frozen=True)
class Authority:
    """A root certificate, and a key with a certificate for signing that it vouches for."""

    root: Path
    key: Path
    public: Path
    certificate: Path

    @classmethod
    def new(cls, folder: Path) -> Self:
        """Make them."""
        root_key = load_pem_private_key(new_key(folder / "root")[0].read_bytes(), None)
        key, public = new_key(folder)
        signer = load_pem_private_key(key.read_bytes(), None)
        assert isinstance(root_key, ec.EllipticCurvePrivateKey) and isinstance(signer, ec.EllipticCurvePrivateKey)
        root = _certificate("root", root_key, "root", root_key)
        certificate = _certificate("signer", signer, "root", root_key)
        made = cls(folder / "root.crt", key, public, folder / "signer.crt")
        made.root.write_bytes(root.public_bytes(Encoding.PEM))
        made.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        return made


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    now, of_root = datetime.datetime.now(datetime.UTC), name == issuer
    named = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in (name, issuer)]
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    return (
        x509.CertificateBuilder()
        .subject_name(named[0])
        .issuer_name(named[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=of_root, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not of_root,
                key_cert_sign=of_root,
                crl_sign=of_root,
                decipher_only=False,
                **usage,
            ),
            critical=True,
        )
        .sign(issuer_key, hashes.SHA256())
    )
