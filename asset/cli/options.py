"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

State = Annotated[
    Path | None,
    typer.Option("--asset-dir", envvar="ASSET_DIR", help="The folder of local state. Default: .asset in the checkout."),
]
Azure = Annotated[bool, typer.Option("--azure", help="In a workspace of Azure's, not on this machine.")]
Subscription = Annotated[str | None, typer.Option("--subscription", help="The workspace's, with --azure.")]
ResourceGroup = Annotated[str | None, typer.Option("--resource-group", help="The workspace's, with --azure.")]
Workspace = Annotated[
    str | None, typer.Option("--workspace", help="Its name. Default: environment variables, else config.json.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, and the rest to standard error.")]
