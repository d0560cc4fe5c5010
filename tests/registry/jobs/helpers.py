"""What several of these tests do: wait, ask whether a process is there, add a step."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.registry.jobs.conftest import Asset


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Return whether a process runs; one whose end nobody has asked for (a zombie) does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int) -> bool:
    return not alive(pid)


def add_step(asset: Asset, name: str, script: str) -> None:
    """Add a step that takes the output of `count`."""
    asset.edit(
        "job.yml",
        "jobs:\n",
        f"""jobs:
  {name}:
    type: command
    command: cat '${{{{inputs.counted}}}}' > '${{{{outputs.copied}}}}'; {script}
    environment: file:./environment/dev/environment.yaml
    inputs:
      counted: ${{{{parent.jobs.count.outputs.counted}}}}
    outputs:
      copied: {{type: uri_file}}
""",
    )
