"""The model that is trained: the base checkpoint's encoder in fp32 with the task's head, and LoRA's matrices around it.

A whole model of a base model and the adapter that was trained on it (peft's LoRA).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from finetune.checkpoint_files import TOKENIZER_FILES
from finetune.errors import FinetuneError
from finetune.package.tuned_model import ADAPTER_FILES
from finetune.prepare.prepared import PreparedFolder, Settings

if TYPE_CHECKING:
    from peft import PeftModel


ADAPTED = r".*\.layer\.\d+\..*(query|key|value|dense|[qkv]_lin|out_lin|lin[12])"
"""The encoder's linear layers, of BERT and of DistilBERT."""


@dataclass(frozen=True)
class Loaded:
    """The model, and the names of its parameters that are not the base's: new, or of another shape there."""

    model: PreTrainedModel
    new: list[str]
    reshaped: list[str]

    def lines(self) -> Iterator[str]:
        """Yield the remarks about the loaded model that people should read."""
        if self.new:
            yield f"new in the model, to be trained: {', '.join(_modules(self.new))}"
        if self.reshaped:
            yield f"of another shape in the base model, begun anew: {', '.join(_modules(self.reshaped))}"


def _modules(names: list[str]) -> list[str]:
    return sorted({name.rpartition(".")[0] for name in names})


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing a table of the weights that are new: we say it in a line."""
    before = transformers.logging.get_verbosity()
    bar = transformers.utils.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)
        if bar:
            transformers.utils.logging.enable_progress_bar()


def read_config(prepared: PreparedFolder, settings: Settings) -> PreTrainedConfig:
    """Return the base's config with the task's labels; raises FinetuneError for a model that is not trained here."""
    try:
        (prepared.model / "config.json").read_bytes()  # without it, transformers takes the folder for a hub's name
        config = AutoConfig.from_pretrained(prepared.model, local_files_only=True)
    except (OSError, ValueError) as exc:
        raise FinetuneError(f"{prepared.model}: expected a model's config.json, found: {exc}; prepare again") from exc
    if config.model_type not in settings.tuning.heads:
        raise FinetuneError(
            f"{prepared.model}: config.json: expected model_type bert or distilbert, found {config.model_type!r}; "
            "start from another base model"
        )
    if settings.tuning.classifies:
        config.id2label = dict(enumerate(settings.labels))
        config.label2id = {label: index for index, label in enumerate(settings.labels)}
        config.problem_type = "single_label_classification"
    # The name in config.json is the base model's, not the tuned model's.
    vars(config).pop("model_name", None)
    return config


def _class_of(settings: Settings) -> Any:  # noqa: ANN401 - a class of transformers
    """Return the class that loads a model with the task's head."""
    return getattr(transformers, settings.tuning.model_class)


def attention() -> str:
    """Return the attention that trains fastest: on a CPU, the backward pass of torch's fused attention is slower."""
    return "sdpa" if torch.cuda.is_available() else "eager"


def load(prepared: PreparedFolder, settings: Settings, config: PreTrainedConfig) -> Loaded:
    """Load the base model's weights in fp32; raises FinetuneError if they are damaged or the head has another shape.

    With ignore_mismatched_sizes, a head of another shape is replaced by a new one.
    """
    options: dict[str, Any] = {
        "config": config,
        "dtype": torch.float32,
        "attn_implementation": attention(),
        "ignore_mismatched_sizes": True,
        "output_loading_info": True,
        "local_files_only": True,
    }
    try:
        with quiet():
            model, info = _class_of(settings).from_pretrained(prepared.model, **options)
    except (OSError, RuntimeError, ValueError, SafetensorError) as exc:
        raise FinetuneError(
            f"{prepared.model}: expected the weights that config.json describes, found: {exc}; prepare again with a base "
            "model that is whole"
        ) from exc
    reshaped = [entry[0] for entry in info["mismatched_keys"]]
    if reshaped and not settings.training.ignore_mismatched_sizes:
        name, found, expected = sorted(info["mismatched_keys"])[0]
        raise FinetuneError(
            f"{prepared.model}: expected {name} of shape {list(expected)}, found {list(found)}; set "
            "ignore_mismatched_sizes to true to begin it anew"
        )
    new = sorted(set(info["missing_keys"]) - set(reshaped))
    encoder = [name for name in new if ".layer." in name or ".embeddings." in name]
    if encoder:
        raise FinetuneError(
            f"{prepared.model}: expected the weights of the encoder, found none of {', '.join(encoder[:3])}; prepare "
            "again with a base model that is whole"
        )
    model.config.architectures = [type(model).__name__]
    # The loss is a batch's own mean. The Trainer takes the model's **kwargs for a promise to divide by the rows of all
    # accumulated batches, which these models do not keep: their gradients would grow with the accumulation.
    model.accepts_loss_kwargs = False
    return Loaded(model, new, sorted(reshaped))


def with_lora(model: PreTrainedModel, settings: Settings) -> PeftModel:
    """Freeze the model but for its head, and put LoRA's matrices beside the encoder's linear layers."""
    from peft import LoraConfig, get_peft_model  # four seconds that a run without it is spared
    from peft.tuners.tuners_utils import BaseTunerLayer

    training = settings.training
    config = LoraConfig(
        task_type=settings.tuning.adapter_type,
        r=training.lora_r,
        lora_alpha=training.lora_alpha,
        lora_dropout=training.lora_dropout,
        target_modules=ADAPTED,
        modules_to_save=list(settings.tuning.heads[model.config.model_type]),
    )
    adapted = get_peft_model(model, config)
    for layer in adapted.modules():
        if isinstance(layer, BaseTunerLayer):
            # To fp32, as LoRA's weights are: autocast takes it back at once, which cost a twelfth of a step.
            layer.cast_input_dtype_enabled = False
    return adapted


def merge(base: Path, adapter: Path, settings: Settings, to: Path) -> None:
    """Write base and adapter as one fp32 checkpoint, with the adapter's tokenizer; raises FinetuneError.

    The adapter must have every tensor that the base model lacks: a head that neither has would be random.
    """
    import peft  # it and torch take seconds, which most runs need not wait for
    import torch
    from safetensors import SafetensorError, safe_open

    labels = dict(enumerate(settings.labels))
    head = {"id2label": labels, "label2id": {label: index for index, label in labels.items()}} if labels else {}
    try:
        with safe_open(adapter / ADAPTER_FILES[1], framework="numpy") as tensors:
            trained = set(tensors.keys())
        model, loading = _class_of(settings).from_pretrained(
            base, dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True, **head
        )
        absent = {*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])}
        lacking = sorted(name for name in absent if not any(key.endswith(name) for key in trained))
        if lacking:
            raise FinetuneError(
                f"{adapter}: expected {', '.join(lacking)} in the adapter, as the base model has none, found it has "
                "not either; train again with merge_lora_weights 'true'"
            )
        merged = peft.PeftModel.from_pretrained(model, adapter).merge_and_unload()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as exc:
        first = str(exc).strip().splitlines() or [type(exc).__name__]
        raise FinetuneError(
            f"{adapter}: expected an adapter of peft's for the base model {base}, found: {first[0]}; train again"
        ) from exc
    try:
        merged.save_pretrained(to)
    except SafetensorError as exc:  # the error of a full disk
        raise FinetuneError(f"{to}: expected a folder that can be written to, found: {exc}; set TMPDIR") from exc
    for name in TOKENIZER_FILES:
        source = next((place / name for place in (adapter, base) if (place / name).is_file()), None)
        if source is not None:
            shutil.copyfile(source, to / name)
