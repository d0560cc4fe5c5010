"""`asset compile`: compile a model ahead of its first start, in the environment that serves it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asset.cli.loop import FAILED, run
from asset.environments import ROOT
from asset.local.server import SERVING_PYTHON
from serving.model.model_folder import chosen_folder


@dataclass(frozen=True)
class CompileOptions:
    """What `asset compile` was asked for; without a model it is the one that score.py serves."""

    model: Path | None = None
    precision: str = "auto"
    engine: str = "auto"
    cache_dir: Path | None = None
    as_json: bool = False


def compile_model(options: CompileOptions) -> int:
    """Compile; return the exit status: 0, 1 the model cannot be compiled, 2 nothing was tried, 130 interrupted."""
    return run(lambda _: _compile(options), options.as_json)


def _compile(options: CompileOptions) -> dict[str, Any]:
    if not SERVING_PYTHON.is_file():
        raise ValueError(f"expected the serving environment, found no {SERVING_PYTHON}; set it up with `make score`")
    model = options.model or chosen_folder(ROOT)
    if not model.is_dir():
        raise ValueError(f"expected a model folder, found none at {model}; name one, as in model/embedded")
    command = [str(SERVING_PYTHON), "-m", "serving.engine.compile", str(model.resolve())]
    command += ["--precision", options.precision, "--engine", options.engine]
    command += ["--cache-dir", str(options.cache_dir.resolve())] if options.cache_dir else []
    # Its progress is for people who wait; for --json the last line says why it failed.
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if options.as_json else None,
        text=True,
        check=False,
    )
    sys.stderr.write(done.stderr or "")
    if done.returncode:
        told = (done.stderr or "").strip().rpartition("\n")[2]
        return {"exit": FAILED, "model": str(model), "message": told}
    compiled = done.stdout.strip()
    if not options.as_json:
        sys.stdout.write(f"{compiled}\n")
    return {"model": str(model), "compiled": compiled}
