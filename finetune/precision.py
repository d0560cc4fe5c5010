"""The number format that a training run computes in."""

from __future__ import annotations

from typing import Literal

import torch

from finetune.errors import FinetuneError

Precision = Literal["fp32", "bf16", "fp16"]


def has_bf16() -> bool:
    """Return whether this machine computes in bf16; an AVX-512 CPU without it only imitates bf16, slower than fp32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def precision_of(bits: int) -> Precision:
    """Return the format of so many bits on this machine; raises FinetuneError for 16 bits if the machine has no such format."""
    if bits == 32:
        return "fp32"
    if has_bf16():
        return "bf16"
    if torch.cuda.is_available():
        return "fp16"
    raise FinetuneError("precision 16: expected a GPU or a CPU with bf16, found neither; set precision to 32")
