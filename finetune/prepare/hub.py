"""Fetch files from the Hugging Face hub, in a process of its own.

`python -m asset.models.fetch` is the one way to the hub in this repository. It is run as a command because fine-tuning
imports nothing of the package asset. HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finetune.errors import FinetuneError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Fetched:
    """The folder of the fetched files, the commit, and the names of all files of the repository."""

    folder: Path
    commit: str
    names: list[str]


def fetch(
    repository: str,
    patterns: Sequence[str],
    kind: Literal["model", "dataset"] = "model",
    revision: str | None = None,
) -> Fetched:
    """Fetch the files that suit a pattern into the hub's cache; raises FinetuneError with the message of the command."""
    options = ["--kind", kind, *(["--revision", revision] if revision else [])]
    done = subprocess.run(
        [sys.executable, "-m", "asset.models.fetch", *options, "--", repository, *patterns],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    try:
        answer = json.loads(done.stdout)
    except ValueError as exc:
        raise FinetuneError(
            f"{repository}: fetching ended with status {done.returncode} and no answer; see above"
        ) from exc
    if done.returncode:
        raise FinetuneError(answer["message"])
    return Fetched(Path(answer["folder"]), answer["commit"], answer["names"])
