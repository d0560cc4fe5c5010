"""The router of an endpoint: it checks the key of a request, chooses the deployment, and passes the answer back.

    200   the model's answer
    401   the key is missing or wrong                  key_auth_bad_header_forbidden, key_auth_access_denied
    404   no deployment has traffic, or no deployment has the name in the header azureml-model-deployment
    408   no answer within request_timeout_ms
    413   the body is larger than 10 MiB
    424   the model answered with another status        ms-azureml-model-error-statuscode has it, the body is the model's
    429   more than 2 x max_concurrent_requests_per_instance requests at once
    502   the server ended while it worked on the request
    503   the deployment's server ends again and again

All but the last two are Azure's, in Azure's words as far as they are known; there too, a 429 of the model becomes a 424.

Every answer has the request's id in x-request-id: the client's id if it is valid (serving.http.request_log), else a new id. The
server gets the same id, and writes it in its log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from multidict import CIMultiDict

from asset.local.endpoints.deployment import Deployment
from asset.local.endpoints.errors import InvalidEndpointError, LostError, NotRunningError
from asset.local.endpoints.records import Keys
from asset.local.endpoints.server import Answer
from serving.http import request_log

DEPLOYMENT, REQUEST_ID = "azureml-model-deployment", request_log.REQUEST_ID
REASON, MODEL_STATUS = "ms-azureml-model-error-reason", "ms-azureml-model-error-statuscode"
MOST_BODY_BYTES = 10 * 1024 * 1024

ONE_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
NOT_PASSED_ON = ONE_HOP | {
    "host",
    "content-length",
    "expect",
    "authorization",
    "proxy-authorization",
    DEPLOYMENT,
    REQUEST_ID,
}
NOT_PASSED_BACK = ONE_HOP | {"content-length", "server", "date", DEPLOYMENT, REQUEST_ID}


class Router:
    """The current keys, traffic and deployments of an endpoint."""

    def __init__(self, keys: Keys, traffic: Traffic) -> None:
        self.keys, self.traffic = keys, traffic
        self.deployments: dict[str, Deployment] = {}

    def app(self) -> web.Application:
        """Return the application that answers requests to every path."""
        app = web.Application(client_max_size=MOST_BODY_BYTES)
        app.on_response_prepare.append(_add_ids)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a request."""
        refusal = self.keys.refusal(request.headers.get("Authorization"))
        if refusal is not None:
            return _plain(HTTPStatus.UNAUTHORIZED, refusal)
        body = await request.read()
        deployment = self._deployment(request)
        if deployment is None:
            return _plain(
                HTTPStatus.NOT_FOUND, "no deployment has traffic, or none has the name in azureml-model-deployment"
            )
        if deployment.is_full:
            return _plain(HTTPStatus.TOO_MANY_REQUESTS, "", reason="too_many_pending_request")
        return await _pass_on(request, body, deployment)

    def _deployment(self, request: web.Request) -> Deployment | None:
        name = request.headers.get(DEPLOYMENT) or self.traffic.pick()
        return None if name is None else self.deployments.get(name.lower())


async def _pass_on(request: web.Request, body: bytes, deployment: Deployment) -> web.Response:
    name = deployment.record.name
    # A request may have a header more than once.
    headers = CIMultiDict((key, value) for key, value in request.headers.items() if key.lower() not in NOT_PASSED_ON)
    headers.update({DEPLOYMENT: name, REQUEST_ID: _id_of(request)})
    try:
        answer = await deployment.answer(request.method, request.rel_url.raw_path_qs, headers, body)
        response = _passed_back(answer)
    except TimeoutError:
        response = _plain(HTTPStatus.REQUEST_TIMEOUT, "upstream request timeout", reason="model_timeout")
    except LostError:
        message = (
            f"the server of deployment '{name}' ended while it worked on this request, and is being restarted; send the request "
            "again"
        )
        response = _error(HTTPStatus.BAD_GATEWAY, "deployment_ended", message)
    except NotRunningError as exc:
        response = _error(HTTPStatus.SERVICE_UNAVAILABLE, "deployment_unavailable", str(exc))
    response.headers[DEPLOYMENT] = name
    return response


def _id_of(request: web.BaseRequest) -> str:
    """Return the request's id, the same at each call."""
    if REQUEST_ID not in request:
        client_id = request.headers.get(REQUEST_ID, "")
        request[REQUEST_ID] = client_id if request_log.is_id(client_id) else request_log.new_id()
    return str(request[REQUEST_ID])


async def _add_ids(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Add the ids to an answer, also to an error of this router; the server has added the client's ids to its own answers."""
    response.headers[REQUEST_ID] = _id_of(request)
    for name in request_log.CLIENT_IDS:
        if name not in response.headers and request_log.is_id(request.headers.get(name, "")):
            response.headers[name] = request.headers[name]


def _passed_back(answer: Answer) -> web.Response:
    headers = CIMultiDict((key, value) for key, value in answer.headers.items() if key.lower() not in NOT_PASSED_BACK)
    if answer.status == HTTPStatus.OK:
        return web.Response(body=answer.body, headers=headers)
    headers.update({REASON: "model_error", MODEL_STATUS: str(answer.status)})
    return web.Response(status=HTTPStatus.FAILED_DEPENDENCY, body=answer.body, headers=headers)


def _plain(status: HTTPStatus, text: str, reason: str | None = None) -> web.Response:
    response = web.Response(status=status, text=text)
    if reason is not None:
        response.headers[REASON] = reason
    return response


def _error(status: HTTPStatus, code: str, message: str) -> web.Response:
    content = {"error": {"code": code, "message": message}}
    return web.Response(
        status=status,
        body=json.dumps(content, ensure_ascii=False).encode(),
        content_type="application/json",
        headers={"Retry-After": "1", REASON: "model_not_ready"},
    )


ALL = 100


class Traffic:
    """The shares of an endpoint's deployments, in percent, and whose turn it is: smooth weighted round-robin.

    {"blue": 90, "green": 10} sends exactly 9 of each 10 requests to blue, and the request to green comes in the middle of them.
    """

    def __init__(self, shares: Mapping[str, int]) -> None:
        """Take shares that `check_traffic` has accepted."""
        self.shares = dict(shares)
        self._credit = {name: 0 for name, share in shares.items() if share}

    def pick(self) -> str | None:
        """Return the deployment whose turn it is; None if no deployment has traffic."""
        if not self._credit:
            return None
        for name in self._credit:
            self._credit[name] += self.shares[name]
        chosen = max(self._credit, key=self._credit.__getitem__)
        self._credit[chosen] -= ALL
        return chosen


def check_traffic(shares: Mapping[str, object], deployments: set[str]) -> dict[str, int]:
    """Return the shares of existing deployments: whole numbers that add up to 100, or to 0.

    Raises:
        InvalidEndpointError: a deployment does not exist, or a share or the sum is not valid.
    """
    unknown = sorted(set(shares) - deployments)
    if unknown:
        known = ", ".join(sorted(deployments)) or "none"
        raise InvalidEndpointError(
            f"traffic names deployments that the endpoint does not have: {', '.join(unknown)} (it has: {known}); deploy them first"
        )
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int) or not 0 <= share <= ALL:
            raise InvalidEndpointError(f"the traffic of {name} is {share!r}; write a whole number from 0 to 100")
    whole = {name: share for name, share in shares.items() if isinstance(share, int)}
    if sum(whole.values()) not in (0, ALL):
        raise InvalidEndpointError(
            f"the traffic adds up to {sum(whole.values())}, not to 100 (or to 0, for none); correct "
            + ", ".join(f"{name}={share}" for name, share in whole.items())
        )
    return whole
