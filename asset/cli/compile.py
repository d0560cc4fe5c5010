"""`asset compile`: compile a model ahead of its first start, in the environment that serves it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from asset.cli.loop import FAILED, AsJson, Result, perform
from asset.environments import ROOT


def compile_model(
    model: Annotated[
        Path | None,
        typer.Option("--model", help="The model folder. Default: bert-base-cased, else the embedded model."),
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "int8", "fp16"],
        typer.Option(help="auto: fp16 if there is a GPU, else int8 if the CPU is fast in int8, else fp32."),
    ] = "auto",
    engine: Annotated[
        Literal["auto", "native", "onnxruntime"],
        typer.Option(help="auto: this asset's own kernels for int8 if this machine can run them, else ONNX Runtime."),
    ] = "auto",
    cache_dir: Annotated[
        Path | None,
        typer.Option("--cache-dir", help="The folder for the result. Default: .compiled in the model folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compile a model ahead of its first start, such as for an image, and print the path of the result.

    A server that starts on the model folder uses the result. If the same weights were compiled before, nothing changes.

    Exit status: 0 if the model is compiled, 1 if it cannot be compiled, 2 if nothing was tried, 130 if it was interrupted.

    **Examples**

        asset compile

        asset compile --model runs/notes/model --precision int8
    """
    perform(lambda _: _compile(model, precision, engine, cache_dir, as_json), as_json)


def _compile(model: Path | None, precision: str, engine: str, cache_dir: Path | None, as_json: bool) -> Result:
    from asset.local.server import SERVING_PYTHON
    from serving.model.model_folder import chosen_folder

    if not SERVING_PYTHON.is_file():
        raise ValueError(
            f"the serving environment is not set up: there is no {SERVING_PYTHON}; run `make setup SETS=serving`"
        )
    model = model or chosen_folder(ROOT)
    if not model.is_dir():
        raise ValueError(f"there is no model folder {model}; name a folder such as model/embedded")
    command = [str(SERVING_PYTHON), "-m", "serving.engine.compile", str(model.resolve())]
    command += ["--precision", precision, "--engine", engine]
    command += ["--cache-dir", str(cache_dir.resolve())] if cache_dir else []
    # People see the compiler's progress as it comes. For --json, its last line is the reason of a failure.
    errors = subprocess.PIPE if as_json else None
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True, check=False)
    log = done.stderr or ""
    sys.stderr.write(log)
    if done.returncode:
        return Result({"model": str(model), "message": log.strip().rpartition("\n")[2]}, status=FAILED)
    compiled = done.stdout.strip()
    return Result({"model": str(model), "compiled": compiled}, f"{compiled}\n")
