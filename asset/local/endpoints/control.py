"""The control socket of an endpoint's process, where commands send HTTP requests with JSON.

    GET    /                     return the state of the endpoint and its deployments
    PUT    /                     set the traffic, and the endpoint's JSON in Azure's form: {"traffic": …, "resource": …}
    PUT    /keys                 read the file of the keys again
    PUT    /deployments/NAME     start a deployment, or replace it; answered when its server is ready
    DELETE /deployments/NAME     remove a deployment that has no traffic
    POST   /stop                 answer the accepted requests, and end

An error is {"message": …} with the status of its class in `errors`.
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
from asset.local.endpoints.records import DeploymentRecord, EndpointFolder, Keys
from asset.local.endpoints.router import Router, Traffic, check_traffic
from asset.local.endpoints.server import reachable

logger = logging.getLogger("asset.local.endpoints")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SOCKET = "control.sock"
MARGIN_SECONDS = 1.0
MOST_BYTES = 64 * 1024 * 1024


class Control:
    """Does what commands ask of an endpoint's process. Two commands for one deployment run one after the other."""

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
        content = await request.json()
        traffic = check_traffic(content["traffic"], set(self._router.deployments))
        self._folder.write(replace(self._folder.read(), traffic=traffic, resource=content["resource"]))
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
                if folder.is_dir():  # its server never started
                    shutil.rmtree(folder)
                    return web.json_response({})
                known = ", ".join(self._router.deployments) or "none"
                raise NotFoundError(f"endpoint {self._folder.name} has no deployment {name} (it has: {known})")
            share = self._router.traffic.shares.get(name)
            if share:
                raise ConflictError(
                    f"deployment '{name}' has {share} % of the traffic and cannot be deleted; give its traffic to another "
                    "deployment, or set all traffic to 0"
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
    """Stop a deployment that gets no new requests, once it has answered those that it has."""
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
        message = f"the endpoint's files cannot be read or written: {exc}; correct that, and run the command again"
        return web.json_response({"message": message}, status=EndpointError.status)


def connect(folder: EndpointFolder) -> socket.socket:
    """Return a connection to an endpoint's process; raises OSError if the process does not run."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with reachable(folder.path, SOCKET) as path:
            connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection
