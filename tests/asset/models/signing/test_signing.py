"""`asset sign` and `asset verify` sign what is there, and name what is not as it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asset.models.errors import NotVerified, RequestError
from asset.models.signing import Signer, Trusted, sign, verify
from serving.model.signature import signed_files
from tests.asset.models.signing.authority import Authority, new_key

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A model folder, with what a start has left in it."""
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model", ignore=shutil.ignore_patterns(".compiled")))
    (folder / "notes").mkdir()
    (folder / "notes/data.txt").write_text("of no use to a server, and signed all the same")
    (folder / ".compiled").mkdir()
    (folder / ".compiled/int8-1234.onnx").write_bytes(b"made on this machine")
    return folder


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return new_key(tmp_path / "keys")


def asset(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "asset.cli.main", *map(str, arguments)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BERT_SERVING_")} | env
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


def test_a_signed_folder_is_verified_by_the_commands(folder: Path, keys: tuple[Path, Path]) -> None:
    private, public = keys
    signed = asset("sign", folder, "--key", private, "--json")
    assert signed.returncode == 0, signed.stderr
    files = json.loads(signed.stdout)["files"]
    assert files == sorted(files)
    assert {"config.json", "model.safetensors", "tokenizer.json", "notes/data.txt"} <= set(files)
    assert not [name for name in files if ".compiled" in name or "model.sig" in name]
    assert (folder / "model.sig").is_file()
    verified = asset("verify", folder, "--key", public)
    assert (verified.returncode, f"{len(files)} files verified" in verified.stdout) == (0, True)
    (folder / "config.json").write_text("{}")
    (folder / "more.txt").write_text("")
    (folder / "notes/data.txt").unlink()
    refused = asset("verify", folder, "--json", BERT_SERVING_SIGNATURE_KEY=str(public))
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["differences"] == [
        "config.json is not what was signed",
        "more.txt is not one of the signed files",
        "notes/data.txt was signed and is missing",
    ]
    assert "config.json is not what was signed" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_link_within_the_folder_is_signed_as_what_it_leads_to(folder: Path, keys: tuple[Path, Path]) -> None:
    (folder / "components/tokenizer").mkdir(parents=True)
    (folder / "components/tokenizer/tokenizer.json").symlink_to("../../tokenizer.json")
    assert "components/tokenizer/tokenizer.json" in sign(folder, Signer(keys[0])).files
    verify(folder, Trusted(keys[1]))
    (folder / "components/tokenizer/tokenizer.json").unlink()
    (folder / "components/tokenizer/tokenizer.json").symlink_to("../../config.json")
    with pytest.raises(NotVerified, match=r"components/tokenizer/tokenizer\.json is not what was signed"):
        verify(folder, Trusted(keys[1]))


def test_nobody_to_trust_is_no_verification(folder: Path, keys: tuple[Path, Path]) -> None:
    sign(folder, Signer(keys[0]))
    nobody = asset("verify", folder)
    assert (nobody.returncode, "--key and --certificate-chain" in nobody.stderr) == (2, True)


def test_a_compile_cache_may_come_and_go(folder: Path, keys: tuple[Path, Path]) -> None:
    sign(folder, Signer(keys[0]))
    shutil.rmtree(folder / ".compiled")
    verify(folder, Trusted(keys[1]))


def test_an_mlflow_folder_is_signed_as_a_whole(checkpoint: Path, tmp_path: Path, keys: tuple[Path, Path]) -> None:
    model = tmp_path / "mlflow"
    hidden = shutil.ignore_patterns(".compiled")
    shutil.copytree(checkpoint, model / "data/model", ignore=hidden)
    (model / "MLmodel").write_text("flavors: {}\n")
    (model / "data/model/.compiled").mkdir()
    (model / "data/model/.compiled/x.onnx").write_text("")
    assert "MLmodel" in sign(model, Signer(keys[0])).files
    verify(model, Trusted(keys[1]))
    (model / ".compiled").mkdir()
    (model / ".compiled/x.onnx").write_text("")
    with pytest.raises(NotVerified, match=r"\.compiled/x\.onnx is not one of the signed files"):
        verify(model, Trusted(keys[1]))


def test_the_signature_of_another_key_is_none(folder: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    sign(folder, Signer(keys[0]))
    _, other = new_key(tmp_path / "other")
    with pytest.raises(NotVerified, match="model.sig: expected a signature by the trusted key"):
        verify(folder, Trusted(other))


@pytest.mark.parametrize("curve", ["SECP256R1", "SECP384R1", "SECP521R1"])
def test_each_curve_of_the_format_signs(folder: Path, tmp_path: Path, curve: str) -> None:
    private, public = new_key(tmp_path / "keys", curve)
    sign(folder, Signer(private))
    verify(folder, Trusted(public))


def test_a_certificate_is_verified_up_to_its_root(folder: Path, tmp_path: Path) -> None:
    authority, other = Authority.new(tmp_path / "ours"), Authority.new(tmp_path / "others")
    sign(folder, Signer(authority.key, authority.certificate, [authority.root]))
    verify(folder, Trusted(chain=[authority.root]))
    with pytest.raises(NotVerified, match="model.sig: expected a signature that is vouched for"):
        verify(folder, Trusted(chain=[other.root]))
    signed_files(folder / "model.sig", authority.public)  # as a server does it, which knows keys alone
    with pytest.raises(NotVerified, match="expected a key's signature, found a certificate's signature; name whom"):
        verify(folder, Trusted(authority.public))
    sign(folder, Signer(authority.key))
    with pytest.raises(NotVerified, match="expected a certificate's signature, found a key's signature; name the key"):
        verify(folder, Trusted(chain=[authority.root]))


def test_a_password_opens_the_key(folder: Path, tmp_path: Path) -> None:
    private, public = new_key(tmp_path / "keys", password=b"open sesame")
    locked = asset("sign", folder, "--key", private)
    assert (locked.returncode, "private key" in locked.stderr, "Traceback" in locked.stderr) == (2, True, False)
    assert not (folder / "model.sig").exists()
    opened = asset("sign", folder, "--key", private, ASSET_SIGN_PASSWORD="open sesame")
    assert opened.returncode == 0, opened.stderr
    verify(folder, Trusted(public))


def give_away_the_key(folder: Path, private: Path) -> Path:
    return Path(shutil.copy(private, folder / "private.pem"))


def link_out(folder: Path, private: Path) -> Path:
    (folder / "link").symlink_to("/etc/hostname")
    return private


def no_model(folder: Path, private: Path) -> Path:
    (folder / "config.json").unlink()
    return private


def another_curve(folder: Path, private: Path) -> Path:
    return new_key(private.parent / "odd", "SECP256K1")[0]


def no_key(folder: Path, private: Path) -> Path:
    private.write_text("no key")
    return private


def no_file(folder: Path, private: Path) -> Path:
    return private.parent / "nowhere.pem"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (give_away_the_key, "private.pem: expected a key outside of the folder"),
        (link_out, "link is not a file in the folder, or leads out of it"),
        (no_model, "expected config.json"),
        (another_curve, "expected a private key in PEM, on P-256, P-384 or P-521, found"),
        (no_key, "expected a private key in PEM"),
        (no_file, "nowhere.pem: expected a file that can be read"),
    ],
)
def test_what_cannot_be_signed_is_left_as_it_was(
    folder: Path, keys: tuple[Path, Path], damage: Callable[[Path, Path], Path], message: str
) -> None:
    key = damage(folder, keys[0])
    before = sorted(folder.rglob("*"))
    with pytest.raises(RequestError, match=message):
        sign(folder, Signer(key))
    assert sorted(folder.rglob("*")) == before


def test_a_signature_takes_the_place_of_an_older_one(folder: Path, keys: tuple[Path, Path]) -> None:
    sign(folder, Signer(keys[0]))
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    (folder / ".model.sig.partial").write_text("of a run that was killed")
    sign(folder, Signer(keys[0]))
    verify(folder, Trusted(keys[1]))
    assert not (folder / ".model.sig.partial").exists()
