"""Settings of the scoring runtime: read once, from the environment, and frozen."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from serving.errors import SettingsError

PREFIX = "BERT_SERVING_"
"""How our variables begin; the inference server has settings of its own, such as SCORING_TIMEOUT_MS."""

PRECISIONS = ("auto", "fp32", "fp16", "int8")
DEVICES = ("auto", "cpu", "cuda")
ENGINES = ("auto", "native", "onnxruntime")
SIGNATURES = ("auto", "required", "off")
CHOICES = {"DEVICE": DEVICES, "PRECISION": PRECISIONS, "ENGINE": ENGINES, "SIGNATURE": SIGNATURES}

UNLIMITED = 2**62


@dataclass(frozen=True)
class Settings:
    """The settings with their defaults; a field such as `max_rows` is read from the variable `BERT_SERVING_MAX_ROWS`.

    device: cpu; cuda, an NVIDIA GPU; or auto: a GPU if ONNX Runtime can use one. If no GPU can be used, the CPU serves
        and a warning says why.
    precision: fp32, int8, fp16 (on a GPU), or auto: fp16 on a GPU, else int8 if the CPU has VNNI or AMX instructions.
    engine: native, our own kernels for int8; onnxruntime; or auto: native if the kernels can be used.
    threads: threads of one inference; 0 takes all CPUs that this process may use.
    cache_dir: the folder of compiled models; by default `.compiled` in the model folder, or the user's cache directory
        if the model folder is read-only.
    signature_key: the public key (PEM) that the model folder must be signed with to be served.
    signature: auto checks a signature if there is one; required stops the server if no key is set; off checks nothing.
    max_body_bytes, max_rows: a larger request is answered 413.
    max_text_characters: characters of one text; a longer text is answered 413. The tokenizer's memory for one text grows
        with the text, to 200 MB for this many characters.
    max_masks: [MASK] tokens in one row; max_top_k: candidates a mask, labels a text, answers a question; max_targets:
        targets a request; max_answer_length: tokens of an answer to a question. A request over them is answered 400.
    max_passages: model inputs that a request may grow to, as a long row is split into windows and a target of several
        word pieces is scored piece by piece; a larger request is answered 413.
    max_answer_bytes: the approximate size of an answer with its texts; a larger answer is replaced by 413.
    batch_tokens, batch_rows: tokens and rows that go through the model at once, of one request or several; if the engine
        pads rows, with the padding (rows x longest row). They do not limit requests, but how long other requests wait;
        and 1024 tokens, which fit in the CPU's cache, are up to a third faster than 4096.
    max_queue: requests that wait or are worked on at the same time, in each process; one more is answered 429. The server
        needs more request threads than this (serving.answering.service).
    deadline_ms: time from the start of a request to its answer, as its client counts it; a later answer is replaced by
        504. The default is below the 5000 ms after which a managed endpoint gives up by default.
    stall_ms: how long a client may pause in the middle of sending its request or receiving its answer before its
        connection is closed.
    """

    device: str = "auto"
    precision: str = "auto"
    engine: str = "auto"
    threads: int = 0
    cache_dir: Path | None = None
    signature: str = "auto"
    signature_key: Path | None = None
    max_body_bytes: int = 4 * 1024 * 1024
    max_rows: int = 1024
    max_text_characters: int = 256 * 1024
    max_masks: int = 64
    max_top_k: int = 1000
    max_targets: int = 100
    max_answer_length: int = 512
    max_passages: int = 8192
    max_answer_bytes: int = 32 * 1024 * 1024
    batch_tokens: int = 1024
    batch_rows: int = 64
    max_queue: int = 128
    deadline_ms: int = 4000
    stall_ms: int = 10_000

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the settings; raises SettingsError for a value out of range or an unknown BERT_SERVING_ variable."""
        known = {PREFIX + field.name.upper(): field for field in fields(cls)}
        unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
        if unknown:
            raise SettingsError(f"unknown setting {', '.join(unknown)}; the settings are {', '.join(sorted(known))}")
        values: dict[str, Any] = {
            field.name: _parse(name, environ[name]) for name, field in known.items() if name in environ
        }
        settings = replace(cls(), **values)
        if settings.signature == "required" and settings.signature_key is None:
            raise SettingsError(
                f"{PREFIX}SIGNATURE is required: expected {PREFIX}SIGNATURE_KEY to name a public key, found nothing"
            )
        return settings

    def unlimited(self) -> Self:
        """Return the settings for a file of rows, without the limits that protect a server from requests."""
        return replace(
            self, max_masks=UNLIMITED, max_text_characters=UNLIMITED, max_passages=UNLIMITED, max_answer_bytes=UNLIMITED
        )


def _parse(name: str, text: str) -> str | int | Path:
    choices = CHOICES.get(name.removeprefix(PREFIX))
    if choices:
        if text not in choices:
            raise SettingsError(f"{name}: expected one of {', '.join(choices)}, found {text!r}")
        return text
    if name in (PREFIX + "CACHE_DIR", PREFIX + "SIGNATURE_KEY"):
        if not text and name == PREFIX + "SIGNATURE_KEY":  # else no signer would be checked, unnoticed
            raise SettingsError(f"{name}: expected a file, found nothing; leave it out to check no signer")
        return Path(text)
    least = 0 if name == PREFIX + "THREADS" else 1
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise SettingsError(f"{name}: expected a whole number of at least {least}, found {text!r}")
    return int(text)
