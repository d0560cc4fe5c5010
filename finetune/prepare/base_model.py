"""Find the model that training starts from, check it before any work is done, and copy it.

A base model is a BERT or DistilBERT in safetensors: a folder, an MLflow model folder, or a repository on the Hugging Face
hub.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from finetune.checkpoint_files import (
    TOKENIZER_FILES,
    WEIGHTS,
    build_tokenizer,
    check_tensors,
    has_weights,
    no_weights,
    tensor_files,
    write_weights,
)
from finetune.errors import FinetuneError
from finetune.prepare import hub
from finetune.prepare.prepared import Base
from serving.errors import ModelFolderError
from serving.model.checkpoint import BertConfig, read_config
from serving.model.model_folder import find_weights, name_of
from serving.model.tokenizer import open_tokenizer


@dataclass(frozen=True)
class BaseModel:
    """A model whose config and tokenizer are here and checked; the weights of a `repository` are not fetched yet."""

    name: str
    source: str
    checkpoint: Path
    tokenizer: Path
    config: BertConfig
    repository: str | None = None

    @classmethod
    def find(cls, given: Mapping[str, str]) -> BaseModel:
        """Find the model given as huggingface_id, pytorch_model_path or mlflow_model_path; raises FinetuneError."""
        (option, value) = next(iter(given.items()))
        try:
            return cls._of_hub(value) if option == "huggingface_id" else cls._of_folder(Path(value))
        except (ModelFolderError, FinetuneError) as exc:
            raise FinetuneError(f"{option}: {exc}") from exc

    @classmethod
    def _of_hub(cls, repository: str) -> BaseModel:
        fetched = hub.fetch(repository, ["config.json", *TOKENIZER_FILES])
        folder = fetched.folder
        try:
            config = BertConfig.from_json(read_config(folder))
        except ModelFolderError as exc:
            raise FinetuneError(f"{repository}: {exc}; choose a BERT or a DistilBERT") from exc
        if not has_weights(fetched.names):
            raise FinetuneError(no_weights(repository, fetched.names))
        return cls(repository, f"{repository}@{fetched.commit}", folder, folder, config, repository)

    @classmethod
    def _of_folder(cls, folder: Path) -> BaseModel:
        if folder.is_dir() and not (folder / "config.json").is_file() and (folder / "adapter_config.json").is_file():
            raise FinetuneError(no_weights(str(folder), ["adapter_model.safetensors"]))
        checkpoint = find_weights(folder)
        config = BertConfig.from_json(read_config(checkpoint))
        places = [checkpoint, *(checkpoint.parent / place for place in ("components/tokenizer", "tokenizer"))]
        with_tokenizer = [
            place for name in ("tokenizer.json", "vocab.txt") for place in places if (place / name).is_file()
        ]
        tensor_files(checkpoint)
        tokenizer = with_tokenizer[0] if with_tokenizer else checkpoint
        return cls(name_of(folder, checkpoint), str(folder), checkpoint, tokenizer, config)

    def write_tokenizer(self, folder: Path) -> Tokenizer:
        """Copy the tokenizer's files, or make tokenizer.json of vocab.txt; returns the tokenizer. Raises FinetuneError."""
        for name in TOKENIZER_FILES:
            if (self.tokenizer / name).is_file():
                shutil.copyfile(self.tokenizer / name, folder / name)
        if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.txt").is_file():
            raise FinetuneError(f"{self.source}: expected tokenizer.json or vocab.txt, found neither; add one of them")
        try:
            if not (folder / "tokenizer.json").is_file():
                build_tokenizer(folder)
            return open_tokenizer(folder / "tokenizer.json", self.config.vocab_size)
        except ModelFolderError as exc:
            raise FinetuneError(f"{self.source}: {exc}") from exc

    def write_weights(self, folder: Path) -> Base:
        """Fetch the weights if they are not here, check and copy them with config.json; raises FinetuneError."""
        checkpoint = self.checkpoint
        try:
            if self.repository is not None:
                checkpoint = hub.fetch(self.repository, WEIGHTS, revision=self.checkpoint.name).folder
            files = tensor_files(checkpoint)
            check_tensors(self.source, files, self.config)
            shutil.copyfile(self.checkpoint / "config.json", folder / "config.json")
            digest = write_weights(files, folder / "model.safetensors")
        except (ModelFolderError, FinetuneError) as exc:
            raise FinetuneError(f"huggingface_id: {exc}" if self.repository else str(exc)) from exc
        return Base(name=self.name, source=self.source, sha256=digest)
