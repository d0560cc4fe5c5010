"""A whole model of a base model and the adapter that was trained on it (peft's LoRA)."""

from __future__ import annotations

import shutil
from pathlib import Path

from finetune.prepared import FinetuneError, Settings
from finetune.tuned_model import ADAPTER_FILES, TOKENIZER_FILES

CLASSES = {
    "text-classification": "AutoModelForSequenceClassification",
    "question-answering": "AutoModelForQuestionAnswering",
}


def merge(base: Path, adapter: Path, settings: Settings, to: Path) -> None:
    """Write base and adapter as one fp32 checkpoint, with the adapter's tokenizer; raises FinetuneError.

    All that the base lacks must be in the adapter: a head that neither has would be random.
    """
    import peft  # it and torch take seconds, which most runs need not wait for
    import torch
    import transformers
    from safetensors import SafetensorError, safe_open

    labels = dict(enumerate(settings.labels))
    head = {"id2label": labels, "label2id": {label: index for index, label in labels.items()}} if labels else {}
    try:
        with safe_open(adapter / ADAPTER_FILES[1], framework="numpy") as tensors:
            trained = set(tensors.keys())
        model, loading = getattr(transformers, CLASSES[settings.task]).from_pretrained(
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
    except SafetensorError as exc:  # what it says where the disk is full
        raise FinetuneError(f"{to}: expected a folder that can be written to, found: {exc}; set TMPDIR") from exc
    for name in TOKENIZER_FILES:
        source = next((place / name for place in (adapter, base) if (place / name).is_file()), None)
        if source is not None:
            shutil.copyfile(source, to / name)
