from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification

from finetune.checkpoint_files import head_rows
from finetune.errors import FinetuneError
from finetune.prepare.base_model import BaseModel
from finetune.prepare.prepared import Base
from tests.loopback_hub import LoopbackHub, Repository, files_of

ROOT = Path(__file__).resolve().parents[2]


def written(given: dict[str, str], folder: Path) -> Base:
    folder.mkdir()
    base = BaseModel.find(given)
    base.write_tokenizer(folder)
    return base.write_weights(folder)


def refused(given: dict[str, str], folder: Path) -> str:
    with pytest.raises(FinetuneError) as raised:
        written(given, folder)
    return str(raised.value)


def changed(checkpoint: Path, folder: Path, **config: object) -> Path:
    shutil.copytree(checkpoint, folder)
    described = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**described, **config}))
    return folder


def vocabulary(checkpoint: Path) -> str:
    tokens = Tokenizer.from_file(str(checkpoint / "tokenizer.json")).get_vocab()
    return "".join(f"{token}\n" for token in sorted(tokens, key=tokens.__getitem__))


@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
@pytest.mark.parametrize("task", ["fill-mask", "text-classification", "question-answering"])
def test_a_checkpoint_of_any_head_is_a_base(
    make_checkpoint: Callable[..., Path], tmp_path: Path, architecture: str, task: str
) -> None:
    checkpoint = make_checkpoint(architecture=architecture, task=task)
    base = written({"pytorch_model_path": str(checkpoint)}, tmp_path / "out")
    assert base.name == "tiny-bert"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    model = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "out", num_labels=5, ignore_mismatched_sizes=True
    )
    assert model.config.model_type == architecture


def test_an_mlflow_folder_with_its_tokenizer_apart_is_a_base(checkpoint: Path, tmp_path: Path) -> None:
    for name, place in (
        ("config.json", "model"),
        ("model.safetensors", "model"),
        ("tokenizer.json", "components/tokenizer"),
    ):
        (tmp_path / "mlflow" / place).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkpoint / name, tmp_path / "mlflow" / place / name)
    (tmp_path / "mlflow" / "MLmodel").touch()
    assert written({"mlflow_model_path": str(tmp_path / "mlflow")}, tmp_path / "out").name == "mlflow"
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (checkpoint / "tokenizer.json").read_bytes()


def test_the_embedded_model_is_a_base_and_keeps_its_halves(tmp_path: Path) -> None:
    base = written({"mlflow_model_path": str(ROOT / "model/embedded")}, tmp_path / "out")
    assert base.name == "embedded-bert-6x384-uncased"
    assert {str(tensor.dtype) for tensor in load_file(tmp_path / "out" / "model.safetensors").values()} == {"float16"}


def test_googles_names_are_kept_and_known(checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(checkpoint, tmp_path / "google")
    tensors = load_file(folder / "model.safetensors")
    google = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    save_file(google, folder / "model.safetensors", {"format": "pt"})
    written({"pytorch_model_path": str(folder)}, tmp_path / "out")
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == google.keys()


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_vocabulary_alone_becomes_a_tokenizer(checkpoint: Path, tmp_path: Path, lowercase: bool) -> None:
    folder = changed(checkpoint, tmp_path / "old")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text(vocabulary(checkpoint))
    described = {"do_lower_case": lowercase, "tokenizer_class": "BertTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    written({"pytorch_model_path": str(folder)}, tmp_path / "out")
    found, first = (Tokenizer.from_file(str(place / "tokenizer.json")) for place in (tmp_path / "out", checkpoint))
    text = "The cat sat" if lowercase else "the cat sat"
    assert found.encode(text, text).ids == first.encode(text, text).ids
    assert (found.encode("The").ids == found.encode("the").ids) is lowercase


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model_type": "roberta"},
            "expected model_type 'bert' or 'distilbert', found 'roberta'",
        ),
        ({"model_type": ["bert"]}, "found ['bert']"),
        ({"position_embedding_type": "relative_key"}, "expected position_embedding_type 'absolute'"),
        ({"hidden_size": 64}, "expected embeddings.word_embeddings.weight of shape"),
        ({"num_hidden_layers": 3}, "of shape (32,"),
        ({"vocab_size": 10}, "expected token ids below config.json's vocab_size 10"),
    ],
)
def test_another_model_is_refused(checkpoint: Path, tmp_path: Path, config: dict[str, object], message: str) -> None:
    folder = changed(checkpoint, tmp_path / "other", **config)
    assert message in refused({"pytorch_model_path": str(folder)}, tmp_path / "out")


@pytest.mark.parametrize(
    ("missing", "added", "message"),
    [
        ("tokenizer.json", None, "expected tokenizer.json or vocab.txt, found neither; add one of them"),
        ("tokenizer.json", "vocab.txt", "vocab.txt: expected a BERT vocabulary, a token a line, found no [PAD], [UNK]"),
        ("model.safetensors", "pytorch_model.bin", "found only pytorch_model.bin, a pickle"),
        ("model.safetensors", None, "expected config.json and model.safetensors in it or below it"),
        ("config.json", "adapter_config.json", "found a LoRA adapter; merge it into its base"),
        ("config.json", None, "expected config.json and model.safetensors in it or below it"),
    ],
)
def test_a_folder_with_a_part_missing_is_refused(
    checkpoint: Path, tmp_path: Path, missing: str, added: str | None, message: str
) -> None:
    folder = changed(checkpoint, tmp_path / "part")
    (folder / missing).unlink()
    if added:
        (folder / added).write_text("only\n")
    told = refused({"mlflow_model_path": str(folder)}, tmp_path / "out")
    assert message in told


def test_the_size_of_a_head_is_known_where_it_has_one(sharp_classifier: Path, checkpoint: Path, tmp_path: Path) -> None:
    assert head_rows(sharp_classifier / "model.safetensors") == 3
    assert head_rows(checkpoint / "model.safetensors") is None
    save_file({"classifier.weight": np.array(1.0)}, tmp_path / "odd.safetensors")
    assert head_rows(tmp_path / "odd.safetensors") is None


def test_a_folder_that_is_not_there_is_told_by_its_option(tmp_path: Path) -> None:
    told = refused({"mlflow_model_path": str(tmp_path / "none")}, tmp_path / "out")
    assert told == f"mlflow_model_path: {tmp_path / 'none'}: expected a model folder, found no such folder"


@pytest.fixture(scope="module")
def repositories(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Repository]:
    files = files_of(checkpoint) | {"README.md": b"a card", "flax_model.msgpack": b"other weights"}
    without = {name: data for name, data in files.items() if name != "model.safetensors"}
    tensors = load_file(checkpoint / "model.safetensors")
    shards: dict[str, bytes] = {}
    folder = tmp_path_factory.mktemp("shards")
    names = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(tensors)}
    for file in set(names.values()):
        save_file({name: tensors[name] for name in tensors if names[name] == file}, folder / file)
        shards[file] = (folder / file).read_bytes()
    shards["model.safetensors.index.json"] = json.dumps({"weight_map": names}).encode()
    return {
        "some/bert": Repository(files),
        "some/sharded": Repository({**without, **shards}),
        "some/cut-once": Repository(files, cuts=1),
        "some/cut": Repository(files, cuts=100, ranges=False),
        "some/pickle": Repository({**without, "pytorch_model.bin": b"pickle"}),
        "some/private": Repository(files, status=401),
        "some/gated": Repository(files, token="right"),  # noqa: S106
        "some/down": Repository(files, status=500),
        "some/roberta": Repository({**files, "config.json": b'{"model_type": "roberta"}'}),
    }


@pytest.fixture(scope="module")
def hub(repositories: dict[str, Repository]) -> Iterator[LoopbackHub]:
    with LoopbackHub(repositories) as found:
        yield found


FETCH = (
    "import sys\nfrom pathlib import Path\nfrom finetune.prepare.base_model import BaseModel\n"
    "from finetune.errors import FinetuneError\n"
    "try:\n"
    "    base = BaseModel.find({'huggingface_id': sys.argv[1]})\n"
    "    out = Path(sys.argv[2])\n    out.mkdir()\n    base.write_tokenizer(out)\n"
    "    print(base.write_weights(out).model_dump_json())\n"
    "except FinetuneError as exc:\n    sys.exit(f'refused: {exc}')\n"
)


def fetched(hub: LoopbackHub, name: str, folder: Path, **environment: str) -> tuple[Base | None, str]:
    """Fetch in a process of its own, as huggingface_hub reads its settings once; gives the base, or why there is none."""
    result = subprocess.run(
        [sys.executable, "-c", FETCH, name, str(folder / "out")],
        cwd=ROOT,
        env=hub.environment(folder / "home", **environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode == 0:
        return Base.model_validate_json(result.stdout), result.stderr
    told = result.stderr.splitlines()[-1]
    assert told.startswith("refused: "), result.stderr
    return None, told.removeprefix("refused: ")


def test_a_model_is_fetched_from_the_hub_and_named_by_its_commit(
    hub: LoopbackHub, repositories: dict[str, Repository], tmp_path: Path
) -> None:
    hub.requests.clear()
    base, _ = fetched(hub, "some/bert", tmp_path)
    commit = repositories["some/bert"].commit
    assert base is not None
    assert (base.name, base.source) == ("some/bert", f"some/bert@{commit}")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == repositories["some/bert"].files["model.safetensors"]
    gotten = {request.split("/")[-1] for request in hub.requests if "/resolve/" in request}
    assert gotten == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_what_was_fetched_is_taken_without_a_network(hub: LoopbackHub, tmp_path: Path) -> None:
    base, _ = fetched(hub, "some/bert", tmp_path)
    shutil.rmtree(tmp_path / "out")
    assert fetched(hub, "some/bert", tmp_path, HF_HUB_OFFLINE="1")[0] == base


def test_shards_are_fetched_and_joined(hub: LoopbackHub, checkpoint: Path, tmp_path: Path) -> None:
    assert fetched(hub, "some/sharded", tmp_path)[0] is not None
    found, first = load_file(tmp_path / "out" / "model.safetensors"), load_file(checkpoint / "model.safetensors")
    assert {name: tensor.tobytes() for name, tensor in found.items()} == {
        name: tensor.tobytes() for name, tensor in first.items()
    }


def test_a_connection_that_is_cut_is_taken_up_again(hub: LoopbackHub, checkpoint: Path, tmp_path: Path) -> None:
    assert fetched(hub, "some/cut-once", tmp_path)[0] is not None
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (checkpoint / "model.safetensors").read_bytes()


def test_a_token_opens_what_is_gated(hub: LoopbackHub, tmp_path: Path) -> None:
    assert fetched(hub, "some/gated", tmp_path, HF_TOKEN="right")[0] is not None


@pytest.mark.parametrize(
    ("name", "environment", "message"),
    [
        (
            "some/none",
            {},
            "found none that may be read (status 404); check the name, and set HF_TOKEN if it is private",
        ),
        ("some/private", {}, "found none that may be read (status 401)"),
        ("some/gated", {}, "found one with terms to accept; accept them on its page and set HF_TOKEN"),
        ("some/down", {}, "found status 500; try again later"),
        ("some/pickle", {}, "some/pickle: expected model.safetensors, found only pytorch_model.bin, a pickle"),
        (
            "some/roberta",
            {},
            "some/roberta: config.json: expected model_type 'bert' or 'distilbert', found 'roberta'; choose a BERT",
        ),
        (
            "no name/at/all",
            {},
            "expected the name of a model on the Hugging Face hub, as owner/name, found 'no name/at/all'",
        ),
        ("some/bert", {"HF_HUB_OFFLINE": "1"}, "in the hub's cache at"),
        (
            "some/bert",
            {"HF_ENDPOINT": "http://127.0.0.1:9"},
            "expected a hub at http://127.0.0.1:9, found no way to it",
        ),
        ("some/bert", {"HF_HOME": "/proc/none"}, "expected a folder that can be written to, found: No such file"),
        ("some/cut", {}, "found the connection cut"),
    ],
)
def test_what_cannot_be_fetched_is_told(
    hub: LoopbackHub, tmp_path: Path, name: str, environment: dict[str, str], message: str
) -> None:
    base, told = fetched(hub, name, tmp_path, **environment)
    assert base is None
    assert told.startswith("huggingface_id: ")
    assert message in told
