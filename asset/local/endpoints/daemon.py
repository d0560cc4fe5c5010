"""The process of an endpoint: `python -m asset.local.endpoints.daemon FOLDER`. Commands start it (see `link`).

It runs until a command or SIGTERM stops it. Its log is daemon.log, which has nothing of what clients send.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from aiohttp import web
from filelock import FileLock, Timeout

from asset.local.endpoints.control import SOCKET, Control
from asset.local.endpoints.deployment import Deployment
from asset.local.endpoints.records import DaemonRecord, EndpointFolder, Keys
from asset.local.endpoints.router import Router, Traffic
from asset.local.endpoints.server import Listener
from asset.local.processes import ProcessId
from asset.local.server import BACKLOG, LocalServerError, listen_on_loopback

logger = logging.getLogger("asset.local.endpoints")

LONGEST_DRAIN = 30.0


async def serve(folder: EndpointFolder) -> None:
    """Serve an endpoint until a command or a signal stops it."""
    record = folder.read()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    listener = _listener(record.port)
    router = Router(Keys.read(folder.keys), Traffic(record.traffic))
    for name, deployment in folder.deployments().items():
        router.deployments[name] = Deployment(deployment, folder.deployment(name))
        router.deployments[name].restore()
    control = Control(folder, router, stopping)
    port = listener.getsockname()[1]
    folder.write(replace(record, port=port))
    async with _site(control.app(), Listener(folder.path, SOCKET).socket, 1.0):
        async with _site(router.app(), listener, LONGEST_DRAIN):
            folder.write_daemon(DaemonRecord(_this_process(), port))
            logger.info("serving at http://127.0.0.1:%d/score", port)
            await stopping.wait()
            logger.info("stopping")
        await asyncio.gather(*(deployment.stop() for deployment in router.deployments.values()))
        folder.write_daemon(None)
    logger.info("stopped")


@contextlib.asynccontextmanager
async def _site(app: web.Application, listener: socket.socket, drain: float) -> AsyncIterator[None]:
    """Serve on a socket; at the end, answer accepted requests for up to `drain` seconds."""
    # auto_decompress=False: a compressed body is passed on as it came.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=drain, auto_decompress=False)
    await runner.setup()
    try:
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        yield
    finally:
        await runner.cleanup()


def _listener(port: int) -> socket.socket:
    """Listen on the endpoint's last port, or on another port if that one is taken."""
    try:
        return listen_on_loopback(port)
    except LocalServerError:
        logger.warning("port %d is taken; the endpoint gets another port", port)
        return listen_on_loopback(0)


def _this_process() -> ProcessId:
    process = ProcessId.of(os.getpid())
    assert process is not None
    return process


def main(arguments: list[str]) -> int:
    """Serve the endpoint in a folder; return the exit status."""
    folder = EndpointFolder(Path(arguments[0]))
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logger.setLevel(logging.INFO)
    try:
        with FileLock(folder.path / "daemon.lock", blocking=False):
            asyncio.run(serve(folder))
    except Timeout:
        logger.error("another process serves this endpoint")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
