"""A pull brings what is listed, checked, from where it is nearest, and no other thing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from asset.models.errors import ModelError, RequestError
from asset.models.pull import pull
from asset.models.record import Record
from asset.models.selection import LATER, Asset, Wanted
from asset.models.staging import Staging
from tests.asset.models.conftest import REPOSITORY, Puller, names, require_same
from tests.loopback_hub import Repository, sha256

ROOT = Path(__file__).resolve().parents[3]
PULLED = [
    "LICENSE",
    "README.md",
    "config.json",
    "model.safetensors",
    "pulled.json",
    "tokenizer.json",
    "tokenizer_config.json",
]


def test_a_pull_brings_the_model_and_says_where_it_is_from(puller: Puller, tiny: dict[str, bytes]) -> None:
    pulled = puller()
    assert (pulled.fresh, pulled.came) == (True, sum(len(tiny[name]) for name in PULLED if name != "pulled.json"))
    assert names(puller.folder) == PULLED
    require_same(puller.folder, tiny)
    assert puller.screen.shown == pulled.came
    record = Record.read(puller.folder)
    assert record == pulled.record
    assert (record.repository, record.commit) == (REPOSITORY, puller.loopback.repositories[REPOSITORY].commit)
    assert record.files["model.safetensors"] == sha256(tiny["model.safetensors"])
    assert names(puller.folder.parent) == ["tiny-bert"]


def test_only_what_is_needed_is_asked_for(puller: Puller) -> None:
    puller()
    assert set(puller.loopback.files_gotten()) == set(PULLED) - {"pulled.json"}
    assert puller.loopback.files_gotten()[0] == "config.json"


def test_what_was_pulled_is_not_pulled_again(puller: Puller) -> None:
    first = puller()
    puller.loopback.requests.clear()
    assert puller().record == first.record
    assert not puller.loopback.files_gotten()


def test_a_commit_that_is_here_needs_no_hub(puller: Puller) -> None:
    commit = puller.loopback.repositories[REPOSITORY].commit
    puller(revision=commit)
    again = puller(revision=commit, endpoint="http://127.0.0.1:9")
    assert not again.fresh
    assert not puller.staging.exists()


def test_a_file_that_changed_since_is_pulled_anew_and_the_others_are_kept(
    puller: Puller, tiny: dict[str, bytes]
) -> None:
    puller()
    (puller.folder / "config.json").write_text("{}")
    puller.loopback.requests.clear()
    assert puller().came == len(tiny["config.json"])
    assert puller.loopback.files_gotten() == ["config.json"]
    assert "config.json changed since the last pull" in puller.screen.lines[0]
    require_same(puller.folder, tiny)


def test_a_newer_commit_replaces_the_folder_and_keeps_what_is_the_same(puller: Puller, tiny: dict[str, bytes]) -> None:
    puller()
    puller.loopback.repositories[REPOSITORY] = Repository({**tiny, "README.md": b"# another card\n"})
    puller.loopback.requests.clear()
    assert puller().fresh
    assert puller.loopback.files_gotten() == ["README.md"]
    assert (puller.folder / "README.md").read_bytes() == b"# another card\n"


def test_a_mirror_that_lists_names_alone_is_asked_for_each_hash(puller: Puller, tiny: dict[str, bytes]) -> None:
    puller.loopback.repositories[REPOSITORY].blobs = False
    puller()
    require_same(puller.folder, tiny)
    assert sum(request.startswith("HEAD") for request in puller.loopback.requests) == len(PULLED) - 1


def test_what_the_hubs_cache_has_is_taken_from_there(
    puller: Puller, tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot_download(REPOSITORY, endpoint=puller.loopback.address, cache_dir=puller.home / "hub")
    puller.loopback.requests.clear()
    assert puller().came == 0
    assert not puller.loopback.files_gotten()
    require_same(puller.folder, tiny)
    assert not [path for path in puller.folder.iterdir() if path.is_symlink()]


@pytest.mark.parametrize("revision", ["main", "commit"])
def test_offline_the_cache_is_all_there_is(puller: Puller, tiny: dict[str, bytes], revision: str) -> None:
    folder = snapshot_download(REPOSITORY, endpoint=puller.loopback.address, cache_dir=puller.home / "hub")
    puller.loopback.requests.clear()
    asked = Path(folder).name if revision == "commit" else revision
    pulled = puller(revision=asked, offline=True)
    assert (pulled.came, pulled.record.commit) == (0, Path(folder).name)
    require_same(puller.folder, tiny)
    assert not puller(revision=asked, offline=True).fresh
    assert not puller.loopback.requests


def test_a_cached_file_that_is_broken_is_not_taken(puller: Puller, tiny: dict[str, bytes]) -> None:
    folder = snapshot_download(REPOSITORY, endpoint=puller.loopback.address, cache_dir=puller.home / "hub")
    blob = Path(folder, "model.safetensors").resolve()
    blob.write_bytes(b"\0" * blob.stat().st_size)
    assert puller().came == len(tiny["model.safetensors"])
    require_same(puller.folder, tiny)


def test_a_token_is_sent_to_the_hub_and_not_to_the_host_of_large_files(
    puller: Puller, tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    puller.loopback.repositories[REPOSITORY].token = "right"  # noqa: S105
    monkeypatch.setenv("HF_TOKEN", "right")
    puller()
    require_same(puller.folder, tiny)


def test_parts_of_the_weights_become_one_file(puller: Puller, tiny: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "whole.safetensors").write_bytes(tiny["model.safetensors"])
    tensors = load_file(tmp_path / "whole.safetensors")
    files = {name: data for name, data in tiny.items() if name != "model.safetensors"}
    place = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(tensors)}
    for file in set(place.values()):
        save_file({name: tensors[name] for name in tensors if place[name] == file}, tmp_path / file)
        files[file] = (tmp_path / file).read_bytes()
    files["model.safetensors.index.json"] = json.dumps({"weight_map": place}).encode()
    puller.loopback.repositories[REPOSITORY] = Repository(files)
    record = puller().record
    assert names(puller.folder) == PULLED
    found = load_file(puller.folder / "model.safetensors")
    assert {name: tensor.tobytes() for name, tensor in found.items()} == {
        name: tensor.tobytes() for name, tensor in tensors.items()
    }
    assert record.joined == {file: sha256(files[file]) for file in sorted(set(place.values()))}
    assert not puller(revision="main").fresh


def test_a_vocabulary_alone_becomes_a_tokenizer(puller: Puller, tiny: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(tiny["tokenizer.json"])
    first = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokens = first.get_vocab()
    files = {name: data for name, data in tiny.items() if name != "tokenizer.json"}
    files["vocab.txt"] = "".join(f"{token}\n" for token in sorted(tokens, key=tokens.__getitem__)).encode()
    puller.loopback.repositories[REPOSITORY] = Repository(files)
    puller()
    found = Tokenizer.from_file(str(puller.folder / "tokenizer.json"))
    assert found.encode("the cat", "sat").ids == first.encode("the cat", "sat").ids


@pytest.fixture
def asset(tmp_path: Path) -> Asset:
    """The asset, in a checkout that has what is in git of its folder."""
    for name in ("MLmodel", "README.md"):
        (tmp_path / "model" / "bert-base-cased").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "model" / "bert-base-cased" / name, tmp_path / "model" / "bert-base-cased" / name)
    found = Asset.read()
    return Asset(found.name, found.version, found.repository, found.commit, tmp_path)


def own(puller: Puller, asset: Asset, repository: Repository) -> Wanted:
    """Give the hub the asset's repository, under its two names."""
    puller.loopback.repositories["google-bert/bert-base-cased"] = repository
    puller.loopback.moved["bert-base-cased"] = "google-bert/bert-base-cased"
    wanted = Wanted.choose(asset, None, None, None)
    puller.folder = wanted.folder
    return wanted


def test_the_pinned_commit_is_pulled_into_the_folder_that_is_in_git(
    puller: Puller, tiny: dict[str, bytes], asset: Asset
) -> None:
    wanted = own(puller, asset, Repository(tiny, at=LATER, history={asset.commit: tiny}))
    kept = {name: (wanted.folder / name).read_bytes() for name in ("MLmodel", "README.md")}
    record = pull(wanted, puller.hub(), puller.screen).record
    assert (record.repository, record.commit, record.note) == ("google-bert/bert-base-cased", asset.commit, None)
    assert {name: (wanted.folder / name).read_bytes() for name in kept} == kept
    assert puller.screen.lines == []
    assert not pull(wanted, puller.hub(endpoint="http://127.0.0.1:9"), puller.screen).fresh


def test_without_safetensors_at_the_pinned_commit_the_later_one_is_pulled_and_that_is_said(
    puller: Puller, tiny: dict[str, bytes], asset: Asset
) -> None:
    before = {name: data for name, data in tiny.items() if name != "model.safetensors"}
    before["tokenizer_config.json"] = b'{"do_lower_case": true}'
    wanted = own(puller, asset, Repository(tiny, at=LATER, history={asset.commit: before}))
    record = pull(wanted, puller.hub(), puller.screen).record
    assert (record.commit, record.asked_revision) == (LATER, asset.commit)
    assert record.note == (
        f"{asset.commit} has no model.safetensors, only pytorch_model.bin, tf_model.h5; pulled the later commit {LATER}, "
        "which has it; config.json, tokenizer.json are the same in both, not tokenizer_config.json"
    )
    assert puller.screen.lines == [record.note]
    assert not pull(wanted, puller.hub(endpoint="http://127.0.0.1:9"), puller.screen).fresh


def test_the_later_commit_stands_in_for_no_other(puller: Puller, asset: Asset, tmp_path: Path) -> None:
    assert Wanted.choose(asset, None, None, None).later == LATER
    assert Wanted.choose(asset, "google-bert/bert-base-cased", None, None) == Wanted.choose(asset, None, None, None)
    assert Wanted.choose(asset, None, "main", tmp_path / "x").later is None
    other = Wanted.choose(asset, "distilbert/distilbert-base-cased", None, None)
    assert (other.revision, other.later, other.folder) == ("main", None, tmp_path / "model" / "distilbert-base-cased")


def test_the_commit_is_written_in_one_place() -> None:
    pinned = Asset.read().commit
    sources = [path for folder in ("asset", "serving", "finetune", "tables") for path in (ROOT / folder).rglob("*.py")]
    assert [path.name for path in sources if pinned in path.read_text(encoding="utf-8")] == []
    assert [path.name for path in sources if LATER in path.read_text(encoding="utf-8")] == ["selection.py"]


@pytest.mark.parametrize("name", ["thesis.txt", "model.safetensors", "config.json", "model-fp16.safetensors"])
def test_a_folder_with_other_things_is_left_as_it_is(puller: Puller, name: str) -> None:
    puller.folder.mkdir()
    (puller.folder / name).write_text("mine")
    with pytest.raises(RequestError, match=rf"expected an empty folder, or an earlier pull, found {name}"):
        puller()
    assert names(puller.folder) == [name]
    assert (puller.folder / name).read_text() == "mine"
    assert not puller.loopback.files_gotten()


def test_files_that_are_the_hubs_are_taken_for_a_pull(puller: Puller, checkpoint: Path, tiny: dict[str, bytes]) -> None:
    shutil.copytree(checkpoint, puller.folder, ignore=shutil.ignore_patterns(".compiled"))
    assert puller().came == len(tiny["README.md"]) + len(tiny["LICENSE"])
    require_same(puller.folder, tiny)


def test_a_file_or_the_embedded_model_is_no_place(tmp_path: Path, asset: Asset) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="found a file; give another --output"):
        Wanted.choose(asset, None, None, tmp_path / "file")
    with pytest.raises(RequestError, match="found the embedded model's"):
        Wanted.choose(asset, None, None, tmp_path / "model" / "embedded")


def test_a_second_pull_into_the_same_folder_is_told_of_the_first(puller: Puller) -> None:
    with Staging(puller.folder).lock(), pytest.raises(ModelError, match="is in use by another pull; wait for it"):
        puller()
    puller()


@pytest.mark.parametrize("name", ["no name/at/all", "a--b", "..", "https://huggingface.co/bert-base-cased"])
def test_what_is_no_name_of_a_repository_is_told(puller: Puller, asset: Asset, name: str) -> None:
    with pytest.raises(RequestError, match="expected .* on the Hugging Face hub, as owner/name"):
        pull(Wanted.choose(asset, name, None, puller.folder), puller.hub(), puller.screen)


def test_a_revision_that_is_not_there_is_told(puller: Puller) -> None:
    with pytest.raises(RequestError, match="found no revision 'v9' of it; name another"):
        puller(revision="v9")
    puller.require_nothing()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"config.json": b'{"model_type": "roberta"}'},
            "expected model_type 'bert' or 'distilbert', found 'roberta'; choose a BERT or DistilBERT",
        ),
        ({"config.json": b"no json"}, "expected a config.json, found none that can be read"),
        ({"config.json": None}, "expected config.json, and tokenizer.json or vocab.txt, found tokenizer.json"),
        ({"tokenizer.json": None}, "expected config.json, and tokenizer.json or vocab.txt"),
        ({"tokenizer.json": b"{}"}, "tokenizer.json"),
        ({"model.safetensors": b"\1" * 99}, "expected a safetensors file, found another or a broken file"),
    ],
)
def test_what_is_no_bert_is_told(
    puller: Puller, tiny: dict[str, bytes], files: dict[str, bytes | None], message: str
) -> None:
    changed = {name: data for name, data in (tiny | files).items() if data is not None}
    puller.loopback.repositories[REPOSITORY] = Repository(changed)
    with pytest.raises(RequestError, match=message):
        puller()
    puller.require_nothing()
    if "roberta" in str(files):
        assert puller.loopback.files_gotten() == ["config.json"]


def test_other_shapes_than_the_configs_are_told(puller: Puller, make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint()
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    puller.loopback.repositories[REPOSITORY] = Repository({path.name: path.read_bytes() for path in folder.iterdir()})
    with pytest.raises(RequestError, match=r"expected encoder\.layer\.2\..* as config.json says, found none"):
        puller()
    puller.require_nothing()


def test_a_name_with_a_path_in_it_is_not_written(puller: Puller, tiny: dict[str, bytes], tmp_path: Path) -> None:
    puller.loopback.repositories[REPOSITORY] = Repository({**tiny, "model-/../../../x.safetensors": b"out"})
    puller()
    assert not list(tmp_path.glob("**/x.safetensors"))


def test_a_folder_that_cannot_be_exchanged_is_still_replaced(
    puller: Puller, tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    puller()
    monkeypatch.setattr("asset.models.staging._exchange", lambda one, other: False)
    puller.loopback.repositories[REPOSITORY] = Repository({**tiny, "README.md": b"# another card\n"})
    puller()
    assert (puller.folder / "README.md").read_bytes() == b"# another card\n"
    # A kill between the two steps leaves this.
    puller.staging.mkdir()
    os.rename(puller.folder, puller.staging / "before")
    assert not puller().fresh
    assert names(puller.folder) == PULLED
