"""Find the model that training starts from, check it before any work is done, and copy it.

A BERT or DistilBERT in safetensors: a folder, an MLflow model folder, or a repository on the Hugging Face hub.
"""

from __future__ import annotations

import fnmatch
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from finetune.errors import FinetuneError
from finetune.prepare import hub
from finetune.prepare.prepared import Base
from finetune.prepare.weights_file import INDEX, TensorFile, no_weights, tensor_files, write_weights
from serving.errors import ModelFolderError
from serving.model.checkpoint import BertConfig, canonical_name, expected_shapes, read_config
from serving.model.model_folder import find_weights, name_of
from serving.model.tokenizer import SPECIAL_TOKENS, open_tokenizer

FAMILIES = ("bert", "distilbert")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
WEIGHTS = ("model.safetensors", INDEX, "model-*.safetensors")
ENCODER = ("embeddings.", "encoder.")


@dataclass(frozen=True)
class BaseModel:
    """A model whose config and tokenizer are here and checked; the weights of one on the hub are yet to be fetched."""

    name: str
    source: str
    checkpoint: Path
    tokenizer: Path
    config: BertConfig
    repository: str | None = None

    @classmethod
    def find(cls, given: Mapping[str, str]) -> BaseModel:
        """Find the one that is given as huggingface_id, pytorch_model_path or mlflow_model_path; raises FinetuneError."""
        (option, value) = next(iter(given.items()))
        try:
            return cls._of_hub(value) if option == "huggingface_id" else cls._of_folder(Path(value))
        except (ModelFolderError, FinetuneError) as exc:
            raise FinetuneError(f"{option}: {exc}") from exc

    @classmethod
    def _of_hub(cls, repository: str) -> BaseModel:
        folder = hub.fetch(repository, ["config.json", *TOKENIZER_FILES])
        check_family(folder, repository)
        config = BertConfig.from_json(read_config(folder))
        names = hub.file_names(repository, revision=folder.name)
        if names and not has_weights(names):
            raise FinetuneError(no_weights(repository, names))
        return cls(repository, f"{repository}@{folder.name}", folder, folder, config, repository)

    @classmethod
    def _of_folder(cls, folder: Path) -> BaseModel:
        if folder.is_dir() and not (folder / "config.json").is_file() and (folder / "adapter_config.json").is_file():
            raise FinetuneError(no_weights(str(folder), ["adapter_model.safetensors"]))
        checkpoint = find_weights(folder)
        check_family(checkpoint, str(checkpoint))
        config = BertConfig.from_json(read_config(checkpoint))
        places = [checkpoint, *(checkpoint.parent / place for place in ("components/tokenizer", "tokenizer"))]
        found = [place for name in ("tokenizer.json", "vocab.txt") for place in places if (place / name).is_file()]
        tokenizer_files = found[0] if found else checkpoint
        tensor_files(checkpoint)
        return cls(name_of(folder, checkpoint), str(folder), checkpoint, tokenizer_files, config)

    def write_tokenizer(self, folder: Path) -> Tokenizer:
        """Copy the tokenizer's files, or make tokenizer.json of vocab.txt; returns it. Raises FinetuneError."""
        for name in TOKENIZER_FILES:
            if (self.tokenizer / name).is_file():
                shutil.copyfile(self.tokenizer / name, folder / name)
        if not (folder / "tokenizer.json").is_file():
            if not (folder / "vocab.txt").is_file():
                raise FinetuneError(
                    f"{self.source}: expected tokenizer.json or vocab.txt, found neither; add one of them"
                )
            build_tokenizer(folder)
        try:
            return open_tokenizer(folder / "tokenizer.json", self.config.vocab_size)
        except ModelFolderError as exc:
            raise FinetuneError(f"{self.source}: {exc}") from exc

    def write_weights(self, folder: Path) -> Base:
        """Fetch the weights where they are not here, check and copy them with config.json; raises FinetuneError."""
        checkpoint = self.checkpoint
        if self.repository is not None:
            try:
                checkpoint = hub.fetch(self.repository, WEIGHTS, revision=self.checkpoint.name)
            except FinetuneError as exc:
                raise FinetuneError(f"huggingface_id: {exc}") from exc
        files = tensor_files(checkpoint)
        check_tensors(self.source, files, self.config)
        shutil.copyfile(self.checkpoint / "config.json", folder / "config.json")
        return Base(name=self.name, source=self.source, sha256=write_weights(files, folder / "model.safetensors"))


def head_rows(file: Path) -> int | None:
    """Return how many classes a checkpoint's head has, or None where it has no classifier."""
    entry = TensorFile.read(file).tensors.get("classifier.weight")
    return int(entry["shape"][0]) if entry and entry["shape"] else None


def has_weights(names: Iterable[str]) -> bool:
    """Return whether there are safetensors among the files of a repository."""
    return any(fnmatch.fnmatch(name, pattern) for name in names for pattern in WEIGHTS)


def check_family(folder: Path, where: str) -> None:
    """Raise FinetuneError for a model that is no BERT or DistilBERT, ModelFolderError where it cannot be read."""
    kind: Any = read_config(folder).get("model_type", "bert")
    if kind not in FAMILIES:
        raise FinetuneError(
            f"{where}: expected model_type {' or '.join(FAMILIES)} in config.json, found {kind!r}; choose a BERT "
            "(cased, uncased or multilingual) or a DistilBERT"
        )


def check_tensors(source: str, files: list[TensorFile], config: BertConfig) -> None:
    """Raise FinetuneError where the encoder is not all there, or not of the shapes that config.json says."""
    found = {canonical_name(name): tuple(entry["shape"]) for file in files for name, entry in file.tensors.items()}
    for name, shape in expected_shapes(config).items():
        if name.startswith(ENCODER) and found.get(name) != shape:
            there = "none" if name not in found else f"shape {found[name]}"
            raise FinetuneError(f"{source}: expected {name} of shape {shape}, as config.json says, found {there}")


def build_tokenizer(folder: Path) -> None:
    """Make tokenizer.json of vocab.txt and what tokenizer_config.json says, as transformers does."""
    try:
        tokens = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as exc:
        raise FinetuneError(f"vocab.txt: expected UTF-8, found {exc.reason}; fetch it again") from exc
    missing = [token for token in SPECIAL_TOKENS if token not in tokens]
    if missing:  # transformers would add them, with ids that the model does not know by them
        raise FinetuneError(
            f"vocab.txt: expected a BERT vocabulary, a token a line, found no {', '.join(missing)} in it"
        )
    from transformers import BertTokenizerFast  # seconds, and seldom needed

    BertTokenizerFast.from_pretrained(str(folder)).backend_tokenizer.save(str(folder / "tokenizer.json"))
