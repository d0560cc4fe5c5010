"""`asset ui`: MLflow's own pages on what was run here, on this machine only."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

from rich.console import Console

from asset.environments import ROOT
from asset.local.jobs.tracking import database, tracking_uri
from asset.local.processes import start, stop
from asset.screen import interrupt_on_signals

HOST = "127.0.0.1"


def ui(state: Path | None, port: int) -> int:
    """Keep MLflow's server running until Ctrl-C; return the exit status: 0, 1 where it cannot start."""
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    folder = (state or ROOT / ".asset").absolute()
    if not database(folder).exists():
        errors.print(f"expected runs in {database(folder)}, found none; make one with `asset run -f …`", soft_wrap=True)
        return 1
    try:
        port = _free_port(port)
    except OSError as exc:
        errors.print(f"expected port {port} to be free, found: {exc.strerror}; choose another, as in --port 5051")
        return 1
    console.print(f"MLflow shows the runs of {folder} at http://{HOST}:{port} (Ctrl-C stops it)", soft_wrap=True)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", tracking_uri(folder)]
    # Before the server is there: it has a session of its own, and nobody else would end it.
    restore = interrupt_on_signals()
    process = None
    try:
        process = start([*command, "--host", HOST, "--port", str(port)])
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        if process is not None:
            stop([process], ((signal.SIGTERM, 5.0),))
        restore()


def _free_port(port: int) -> int:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tried.bind((HOST, port))
        return tried.getsockname()[1]
