"""The process of a batch job: `python -m asset.local.client.batch_process FOLDER`; see `batch_runs` for the folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from asset.local.client.batch_runs import LocalBatchRun
from asset.local.client.runs import CANCELED, COMPLETED, FAILED
from asset.screen import interrupt_on_signals

PATHS = ("code", "script", "python", "model", "input", "output")


def main(folder: Path) -> int:
    """Run the job of a folder; return the exit status."""
    run = LocalBatchRun(folder)
    interrupt_on_signals()
    try:
        from asset.local.batch.run import run_batch

        run_batch(**_arguments(run.request["run"]))
    except KeyboardInterrupt:
        run.end(CANCELED)
        return 130
    except Exception as exc:  # noqa: BLE001  whatever it is, the job has failed, and its log says why
        sys.stderr.write(f"{exc}\n")
        run.end(FAILED, str(exc))
        return 1
    run.end(COMPLETED)
    return 0


def _arguments(request: dict[str, Any]) -> dict[str, Any]:
    return {key: Path(value) if key in PATHS and value is not None else value for key, value in request.items()}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
