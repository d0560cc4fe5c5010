"""The command `asset` and the Python client: check the asset, serve it, deploy it, and run its jobs here or on Azure.

from asset import client

ml_client = client(local=True)      # this machine; client(local=False) returns azure.ai.ml.MLClient
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asset.local.client.client import client

__all__ = ["client"]


def __getattr__(name: str) -> object:
    """Import `client` on first use, because it needs the Azure SDK."""
    if name == "client":
        return importlib.import_module("asset.local.client.client").client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
