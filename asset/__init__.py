"""What is done with the asset: keep its specification whole, serve it and run its jobs here, deploy and submit it.

from asset import client

ml_client = client(local=True)      # this machine; local=False is azure.ai.ml.MLClient
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asset.local.client import client

__all__ = ["client"]


def __getattr__(name: str) -> object:
    """Give `asset.local.client`, which needs the Azure SDK, to who asks for it alone. It can be called, see there."""
    if name == "client":
        return importlib.import_module("asset.local.client")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
