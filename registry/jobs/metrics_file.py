"""The metrics.json that an evaluation leaves in its result."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any


def read_metrics(output: Path) -> list[dict[str, Any]]:
    """Return the metrics of an output that is an evaluation's result; an empty list for any other."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads((output / "metrics.json").read_bytes())["metrics"]
        return [metric for metric in found if isinstance(metric["name"], str) and "value" in metric]
    return []
