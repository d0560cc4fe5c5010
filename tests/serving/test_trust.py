"""What is served of a signed folder is what was signed; and of any, nothing from outside of it."""

from __future__ import annotations

import base64
import json
import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from asset.local.server import LocalServerError, local_server
from asset.models.signing import Signer, sign
from evaluation.predict.predictor import load as load_for_evaluation
from serving.answering.models import load_model
from serving.answering.service import Service
from serving.engine.compile import compiled, main
from serving.errors import ModelFolderError, SettingsError, SignatureError
from serving.model.trust import check_folder
from serving.settings import Settings
from tests.asset.models.signing.authority import new_key
from tests.serving.flipped_bytes import accepted, every_place

ROOT = Path(__file__).resolve().parents[2]
SERVING_PYTHON = ROOT / ".venv/serving/bin/python"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return new_key(tmp_path / "keys")


@pytest.fixture
def folder(sharp_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder of the test's own, and a cache of its own too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(sharp_checkpoint, tmp_path / "model", ignore=shutil.ignore_patterns(".compiled")))


@pytest.fixture
def signed(folder: Path, keys: tuple[Path, Path]) -> Path:
    sign(folder, Signer(keys[0]))
    return folder


def test_a_flipped_byte_is_refused_with_its_file_named(signed: Path, keys: tuple[Path, Path]) -> None:
    places = list(every_place(signed))
    assert len(places) > 5000
    sample = random.Random(7).sample(places, len(places) // 20)
    assert {place.name for place in sample} >= {"model.sig", "model.safetensors", "tokenizer.json"}
    assert [found for found in (accepted(signed, keys[1], place) for place in sample) if found] == []
    check_folder(signed, Settings(signature_key=keys[1]))


def test_a_server_serves_what_was_signed_and_does_not_start_on_anything_else(
    signed: Path, keys: tuple[Path, Path]
) -> None:
    env = {"BERT_SERVING_SIGNATURE": "required", "BERT_SERVING_SIGNATURE_KEY": str(keys[1])}
    with local_server(signed, python=SERVING_PYTHON, env=env) as server:
        assert server.post(b'{"input_data": ["The [MASK] sat"]}').status == 200
        assert "files are as the key" in server.log.read_text(encoding="utf-8")
    weights = bytearray((signed / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (signed / "model.safetensors").write_bytes(weights)
    refused = pytest.raises(LocalServerError, match=r"model\.safetensors is not what was signed")
    with refused, local_server(signed, python=SERVING_PYTHON, env=env):
        pass


def test_a_signature_is_asked_for_where_a_key_is_named(folder: Path, keys: tuple[Path, Path]) -> None:
    with pytest.raises(SignatureError, match=r"model\.sig: expected a signature, as BERT_SERVING_SIGNATURE_KEY names"):
        load_model(folder, Settings(signature_key=keys[1]))
    load_model(folder, Settings())


def test_every_way_to_load_a_folder_asks(
    signed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (signed / "more.txt").write_text("more")
    said = r"more\.txt is not one of the signed files"
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(signed))
    with pytest.raises(SignatureError, match=said):
        Service.start(ROOT)
    with pytest.raises(SignatureError, match=said):
        load_for_evaluation(signed, "fill-mask", None, Settings(), None)
    assert main([str(signed), "--precision", "fp32"]) == 1
    assert "more.txt is not one of the signed files" in capsys.readouterr().err


def test_without_a_key_the_files_are_checked_and_a_warning_says_what_is_not(
    signed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_folder(signed, Settings())
    assert "its signer is not checked; name the signer's key in BERT_SERVING_SIGNATURE_KEY" in caplog.text
    (signed / "config.json").write_text("{}")
    with pytest.raises(SignatureError, match=r"config\.json is not what was signed"):
        check_folder(signed, Settings())
    check_folder(signed, Settings(signature="off"))


def test_a_check_that_is_off_though_there_is_a_key_is_told(
    folder: Path, keys: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    check_folder(folder, Settings(signature="off", signature_key=keys[1]))
    assert "BERT_SERVING_SIGNATURE is off" in caplog.text


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"BERT_SERVING_SIGNATURE": "required"}, "expected BERT_SERVING_SIGNATURE_KEY to name a public key"),
        ({"BERT_SERVING_SIGNATURE_KEY": ""}, "expected a file, found nothing"),
        ({"BERT_SERVING_SIGNATURE": "on"}, "expected one of auto, required, off, found 'on'"),
    ],
)
def test_a_policy_that_would_check_nothing_is_refused(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_env(environ)


def test_the_folder_may_lie_below_the_one_that_azure_mounts(
    signed: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    version = tmp_path / "azureml-models/my-bert/3"
    shutil.copytree(signed, version / "model")
    settings = Settings(signature_key=keys[1])
    check_folder(version, settings)
    (version / "model/tokenizer.json").unlink()
    with pytest.raises(SignatureError, match=r"tokenizer\.json was signed and is missing"):
        check_folder(version, settings)


def test_a_part_from_outside_of_the_signed_folder_is_refused(
    sharp_checkpoint: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    # The tokenizer of an MLflow folder, beside a checkpoint that is signed without it.
    model = tmp_path / "mlflow/model"
    shutil.copytree(sharp_checkpoint, model, ignore=shutil.ignore_patterns(".compiled"))
    sign(model, Signer(keys[0]))
    (tmp_path / "mlflow/tokenizer").mkdir()
    shutil.copy(model / "tokenizer.json", tmp_path / "mlflow/tokenizer")
    statement = sharp_checkpoint / "tokenizer.json"
    (model / "tokenizer.json").unlink()
    resigned = _without(model, "tokenizer.json", keys[0])
    assert statement.is_file() and resigned
    with pytest.raises(SignatureError, match=r"tokenizer\.json: expected it to be signed, found it outside"):
        check_folder(tmp_path / "mlflow", Settings(signature_key=keys[1]))


def _without(model: Path, name: str, private: Path) -> bool:
    """Sign a folder that has no tokenizer with the package itself, which any folder will do for."""
    from model_signing import hashing, signing

    config = signing.Config().use_elliptic_key_signer(private_key=private)
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=["model.sig"])).sign(model, model / "model.sig")
    return name not in (model / "model.sig").read_text()


def test_a_forged_compiled_model_in_a_signed_folder_is_not_served(
    signed: Path, keys: tuple[Path, Path], tmp_path: Path, make_checkpoint: Callable[..., Path]
) -> None:
    settings = Settings(signature_key=keys[1], precision="fp32")
    right = compiled(signed, "fp32")
    assert isinstance(right, Path)
    assert right.parent == tmp_path / "cache/bert-serving"
    # What another model compiles to, under the name of this one's, where an unsigned folder would have it.
    other = compiled(make_checkpoint(initializer_range=0.2), "fp32")
    assert isinstance(other, Path)
    source, content = right.name.split(".")[0], other.name.split(".")[1]
    forged = signed / ".compiled" / f"{source}.{content}.onnx"
    forged.parent.mkdir()
    shutil.copy(other, forged)
    asked = json.dumps({"input_data": ["The [MASK] sat on the warm mat."], "parameters": {"top_k": 3}})
    honest = Service(load_model(signed, settings), settings).answer(asked).body
    right.unlink()
    assert Service(load_model(signed, settings), settings).answer(asked).body == honest
    assert sorted(path.name for path in (signed / ".compiled").iterdir()) == [forged.name]
    (signed / "model.sig").unlink()  # unsigned, the folder is its owner's, and so is what is compiled in it
    assert Service(load_model(signed, Settings(precision="fp32")), Settings()).answer(asked).body != honest


@pytest.mark.parametrize("where", ["the file", "the folder"])
def test_a_compiled_model_that_others_can_write_is_not_served_for_a_signed_folder(
    signed: Path, tmp_path: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "own"
    kept = compiled(signed, "fp32", cache)
    assert isinstance(kept, Path)
    honest = kept.read_bytes()
    kept.write_bytes(b"forged")
    (kept if where == "the file" else cache).chmod(0o777)
    caplog.set_level(logging.INFO)
    again = compiled(signed, "fp32", cache)
    assert (again if isinstance(again, bytes) else again.read_bytes()) == honest
    assert (where == "the folder") == (f"{cache} is not used for a signed model folder" in caplog.text)


def test_a_cache_within_a_signed_folder_is_not_used(signed: Path) -> None:
    inside = signed / "cache"
    assert isinstance(compiled(signed, "fp32", inside), bytes)
    assert not inside.exists()


def test_no_model_is_compiled_through_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / ".compiled").symlink_to(tmp_path / "elsewhere")
    assert Path(str(compiled(folder, "fp32"))).parent == tmp_path / "cache/bert-serving"
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.move(folder / name, tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(ModelFolderError, match=f"{name}: expected a file of the model folder, found a link"):
        load_model(folder, Settings())


def test_links_within_a_folder_and_of_a_hubs_cache_and_to_a_folder_are_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "weights").mkdir()
    shutil.move(folder / "model.safetensors", folder / "weights/all")
    (folder / "model.safetensors").symlink_to("weights/all")
    check_folder(folder, Settings())
    snapshot, blobs = tmp_path / "hub/models--x/snapshots/abc", tmp_path / "hub/models--x/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copy(folder / name, blobs / name[:5])
        (snapshot / name).symlink_to(f"../../blobs/{name[:5]}")
    check_folder(snapshot, Settings())
    (tmp_path / "azure").mkdir()
    (tmp_path / "azure/model").symlink_to(folder)
    check_folder(tmp_path / "azure", Settings())


@pytest.mark.parametrize("target", ["/etc/hostname", "/etc", "gone", "link", "notes"])
def test_a_link_that_is_no_file_of_the_signed_folder_is_refused(
    signed: Path, keys: tuple[Path, Path], target: str
) -> None:
    (signed / "notes").mkdir()
    (signed / "link").symlink_to(target)
    with pytest.raises(SignatureError, match="link is not a file in the folder, or leads out of it"):
        check_folder(signed, Settings(signature_key=keys[1]))


def test_a_key_in_the_folder_that_it_is_to_check_is_refused(signed: Path, keys: tuple[Path, Path]) -> None:
    key = Path(shutil.copy(keys[1], signed / "signer.pub"))
    with pytest.raises(SignatureError, match="signer.pub: expected a key from elsewhere"):
        check_folder(signed, Settings(signature_key=key))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a public key in PEM"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "expected a public key in PEM"),
        (None, "expected a public key that can be read"),
    ],
)
def test_a_key_that_is_none_stops_the_server(signed: Path, tmp_path: Path, content: bytes | None, message: str) -> None:
    key = tmp_path / "odd.pub"
    if content is not None:
        key.write_bytes(content)
    with pytest.raises(SignatureError, match=f"odd.pub: {message}"):
        check_folder(signed, Settings(signature_key=key))


Bundle = dict[str, object]


def _payload(bundle: Bundle) -> dict[str, object]:
    return json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda signed: signed["predicate"]["serialization"]["ignore_paths"].append("config.json"), "'config.json' left out"),
        (lambda signed: signed["predicate"]["resources"].append({"name": "../x", "algorithm": "sha256", "digest": "0" * 64}), "found '../x'"),
        (lambda signed: signed["predicate"]["resources"].append(signed["predicate"]["resources"][0]), "each once"),
        (lambda signed: signed["predicate"]["resources"].pop(), "expected subject"),
        (lambda signed: signed.update(predicateType="https://example.com/other"), "expected predicateType"),
        (lambda signed: signed["predicate"]["serialization"].update(hash_type="blake2"), "expected hash_type 'sha256'"),
        (lambda signed: signed["predicate"].clear(), "expected resources and serialization"),
    ],
)  # fmt: skip
def test_a_list_that_is_not_of_the_format_is_refused(
    signed: Path, change: Callable[[dict[str, object]], None], message: str
) -> None:
    # Without a key, so that what is signed over is not what refuses it.
    bundle = json.loads((signed / "model.sig").read_bytes())
    payload = _payload(bundle)
    change(payload)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    (signed / "model.sig").write_text(json.dumps(bundle))
    with pytest.raises(SignatureError, match=f"model.sig: .*{message}"):
        check_folder(signed, Settings())


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"[" * 100_000, b'{"a": 1, "a": 1}', b"\xff", b'"' + b"x" * (17 << 20)]
)
def test_a_signature_that_is_none_is_named(signed: Path, content: bytes) -> None:
    (signed / "model.sig").write_bytes(content)
    with pytest.raises(SignatureError, match="model.sig: "):
        check_folder(signed, Settings())
