"""`asset serve`: serve a model on this machine without an endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    model: Annotated[
        Path | None,
        typer.Option("--model", help="The model folder. Default: bert-base-cased, else the embedded model."),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port on 127.0.0.1; 0 takes a free port.")
    ] = 5001,
) -> None:
    """Serve a model at http://127.0.0.1:5001/score with Microsoft's inference server, until Ctrl-C.

    There is no endpoint and no key. `asset deploy` makes an endpoint with keys.

    **Examples**

        asset serve

        asset serve --model runs/notes/model --port 5002
    """
    from asset.local.server import main

    raise typer.Exit(main(["serve", "--port", str(port), *(["--model", str(model)] if model else [])]))
