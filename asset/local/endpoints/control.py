"""How commands tell an endpoint's process what to do: HTTP with JSON, on a socket in the endpoint's folder.

    GET    /                     how the endpoint and its deployments are
    PUT    /                     another traffic, and the endpoint as Azure has it: {"traffic": …, "resource": …}
    PUT    /keys                 the keys in the file are others
    PUT    /deployments/NAME     a deployment, new or in the place of the one of this name; answered when it serves
    DELETE /deployments/NAME     remove one that has no traffic
    POST   /stop                 answer what has been accepted, and end

Errors are {"message": …} with the status of their class in `errors`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from aiohttp import web

from asset.local.endpoints.deployment import Deployment
from asset.local.endpoints.errors import ConflictError, EndpointError, NotFoundError
from asset.local.endpoints.records import DeploymentRecord, EndpointFolder
from asset.local.endpoints.router import Keys, Router, Traffic, check_traffic
from asset.local.endpoints.server import reachable

logger = logging.getLogger("asset.local.endpoints")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SOCKET = "control.sock"
MARGIN_SECONDS = 1.0
MOST_BYTES = 64 * 1024 * 1024


class Control:
    """What commands may ask of an endpoint's process. One thing at a time is done to a deployment."""

    def __init__(self, folder: EndpointFolder, router: Router, stopping: asyncio.Event) -> None:
        self._folder, self._router, self._stopping = folder, router, stopping
        self._locks: dict[str, asyncio.Lock] = {}

    def app(self) -> web.Application:
        """Return the application of the control socket."""
        app = web.Application(middlewares=[_errors_as_json], client_max_size=MOST_BYTES)
        app.add_routes(
            [
                web.get("/", self._describe),
                web.put("/", self._update),
                web.put("/keys", self._reload_keys),
                web.put("/deployments/{name}", self._deploy),
                web.delete("/deployments/{name}", self._delete),
                web.post("/stop", self._stop),
            ]
        )
        return app

    async def _describe(self, request: web.Request) -> web.Response:
        deployments = {name: deployment.describe() for name, deployment in self._router.deployments.items()}
        return web.json_response({"deployments": deployments, "traffic": self._router.traffic.shares})

    async def _update(self, request: web.Request) -> web.Response:
        asked = await request.json()
        traffic = check_traffic(asked["traffic"], set(self._router.deployments))
        self._folder.write(replace(self._folder.read(), traffic=traffic, resource=asked["resource"]))
        if traffic != self._router.traffic.shares:
            self._router.traffic = Traffic(traffic)
            logger.info("traffic: %s", ", ".join(f"{name}={share}" for name, share in traffic.items()) or "none")
        return web.json_response({})

    async def _reload_keys(self, request: web.Request) -> web.Response:
        self._router.keys = Keys.read(self._folder.keys)
        return web.json_response({})

    async def _deploy(self, request: web.Request) -> web.Response:
        record = DeploymentRecord.from_json(await request.json())
        async with self._alone(record.name):
            folder = self._folder.deployment(record.name)
            folder.path.mkdir(parents=True, exist_ok=True)
            fresh = Deployment(record, folder)
            await fresh.start()
            try:
                folder.write(record)
            except BaseException:
                await fresh.stop()
                raise
            before = self._router.deployments.get(record.name)
            self._router.deployments[record.name] = fresh
            if before is not None:
                await _end(before)
        return web.json_response(fresh.describe())

    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        async with self._alone(name):
            folder = self._folder.deployment(name).path
            if name not in self._router.deployments:
                if folder.is_dir():  # of one that never started
                    shutil.rmtree(folder)
                    return web.json_response({})
                known = ", ".join(self._router.deployments) or "none"
                raise NotFoundError(
                    f"expected one of the endpoint's deployments ({known}), found {name}; name one of those"
                )
            share = self._router.traffic.shares.get(name)
            if share:
                raise ConflictError(
                    f"expected deployment '{name}' to have no traffic, found {share} %; give it to another one first, or set "
                    f"all of it to 0"
                )
            await _end(self._router.deployments.pop(name))
            shutil.rmtree(folder)
        logger.info("%s: deleted", name)
        return web.json_response({})

    async def _stop(self, request: web.Request) -> web.Response:
        self._stopping.set()
        return web.json_response({})

    @contextlib.asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        async with self._locks.setdefault(name, asyncio.Lock()):
            yield


async def _end(deployment: Deployment) -> None:
    """End a deployment that gets no new requests, when it has answered what it has."""
    await deployment.drain(deployment.record.request_timeout + MARGIN_SECONDS)
    await deployment.stop()


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except EndpointError as exc:
        return web.json_response({"message": str(exc)}, status=exc.status)
    except OSError as exc:
        logger.exception("%s %s", request.method, request.path)
        message = (
            f"expected files of the endpoint that can be read and written, found: {exc}; mend that, and do it again"
        )
        return web.json_response({"message": message}, status=EndpointError.status)


def connect(folder: EndpointFolder) -> socket.socket:
    """Return a connection to an endpoint's process; raises OSError where there is none."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with reachable(folder.path, SOCKET) as path:
            connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection
