"""The command `asset` and its Python client: check the asset, serve it, run its jobs, deploy and submit it.

from asset import client

ml_client = client(local=True)      # this machine; local=False is azure.ai.ml.MLClient
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asset.local.client.client import client

__all__ = ["client"]


def __getattr__(name: str) -> object:
    """Import the client only if it is used, because it needs the Azure SDK."""
    if name == "client":
        from asset.local.client.client import client

        return client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
