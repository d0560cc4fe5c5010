"""`asset ui`: MLflow's own pages on the runs of this checkout, on this machine only."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from asset.cli.loop import FAILED, Result, State, perform, state_folder
from asset.screen import Screen

HOST = "127.0.0.1"


def ui(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1; 0 takes a free port.")] = 5050,
    state: State = None,
) -> None:
    """Show the runs of this checkout in MLflow's pages, until Ctrl-C.

    **Example**

        asset ui --port 5051
    """
    perform(lambda screen: _ui(screen, port, state_folder(state)))


def _ui(screen: Screen, port: int, state: Path) -> Result:
    from asset.local.jobs.tracking import database, tracking_uri
    from asset.local.processes import start, stop

    if not database(state).exists():
        raise FileNotFoundError(f"there are no runs: {database(state)} is missing; make a run with `asset run -f …`")
    port = _free_port(port)
    screen.say(f"MLflow shows the runs of {state} at http://{HOST}:{port} (Ctrl-C stops it)")
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", tracking_uri(state)]
    process = None
    try:
        process = start([*command, "--host", HOST, "--port", str(port)])
        status = process.wait()
    except KeyboardInterrupt:
        return Result({})
    finally:
        if process is not None:
            stop([process], ((signal.SIGTERM, 5.0),))
    return Result({}, status=FAILED if status else 0)


def _free_port(port: int) -> int:
    """Return a port that is free: the port itself, or any if it is 0."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as exc:
            raise OSError(f"port {port} cannot be used: {exc.strerror}; choose another, such as --port 5051") from exc
        return listener.getsockname()[1]
