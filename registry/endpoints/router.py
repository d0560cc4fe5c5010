"""Requests to an endpoint: who may send them, which deployment gets them, and how its answer looks from outside.

    200   the model's answer
    401   no key, or a wrong one                       key_auth_bad_header_forbidden, key_auth_access_denied
    404   no deployment has traffic, or none is called as the header azureml-model-deployment says
    408   no answer within request_timeout_ms
    413   a body above 10 MiB
    424   the model answered with anything but 200     ms-azureml-model-error-statuscode says what, the body is the model's
    429   more than 2 x max_concurrent_requests_per_instance requests at once
    502   the server ended while it worked on the request
    503   the deployment's server ends again and again

Every answer has the request's id in x-request-id: the client's where it is one (serving.http.request_log), else one that is made
here. The server gets the same id, and writes it in its log.

All but the last two are Azure's, in its words as far as they are known; a 429 of the model's own is a 424 there too.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from aiohttp import web
from multidict import CIMultiDict

from registry.endpoints.deployment import Deployment
from registry.endpoints.errors import UnavailableError
from registry.endpoints.keys import Keys
from registry.endpoints.server import Answer, LostError
from registry.endpoints.traffic import Traffic
from serving.http.request_log import CLIENT_IDS, REQUEST_ID, is_id, new_id

DEPLOYMENT = "azureml-model-deployment"
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
    """An endpoint's keys, traffic and deployments, as they are now."""

    def __init__(self, keys: Keys, traffic: Traffic) -> None:
        self.keys, self.traffic = keys, traffic
        self.deployments: dict[str, Deployment] = {}

    def app(self) -> web.Application:
        """Return the application that takes requests of every path."""
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
                HTTPStatus.NOT_FOUND, "expected a deployment with traffic, or of the name asked for, found none"
            )
        if deployment.is_full:
            return _plain(HTTPStatus.TOO_MANY_REQUESTS, "", reason="too_many_pending_request")
        return await _pass_on(request, body, deployment)

    def _deployment(self, request: web.Request) -> Deployment | None:
        name = request.headers.get(DEPLOYMENT) or self.traffic.pick()
        return None if name is None else self.deployments.get(name.lower())


async def _pass_on(request: web.Request, body: bytes, deployment: Deployment) -> web.Response:
    name = deployment.record.name
    # A header may be there more than once.
    headers = CIMultiDict((key, value) for key, value in request.headers.items() if key.lower() not in NOT_PASSED_ON)
    headers.update({DEPLOYMENT: name, REQUEST_ID: _id_of(request)})
    try:
        answer = await deployment.answer(request.method, request.rel_url.raw_path_qs, headers, body)
        response = _passed_back(answer)
    except TimeoutError:
        response = _plain(HTTPStatus.REQUEST_TIMEOUT, "upstream request timeout", reason="model_timeout")
    except LostError:
        message = (
            f"deployment '{name}' ended while it worked on this request, and is started again; send the request again"
        )
        response = _error(HTTPStatus.BAD_GATEWAY, "deployment_ended", message)
    except UnavailableError as exc:
        response = _error(HTTPStatus.SERVICE_UNAVAILABLE, "deployment_unavailable", str(exc))
    response.headers[DEPLOYMENT] = name
    return response


def _id_of(request: web.BaseRequest) -> str:
    """Return what the request is called, the same each time."""
    if REQUEST_ID not in request:
        given = request.headers.get(REQUEST_ID, "")
        request[REQUEST_ID] = given if is_id(given) else new_id()
    return str(request[REQUEST_ID])


async def _add_ids(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Give an answer its ids, an error of ours too; what the client calls the request the server has given back already."""
    response.headers[REQUEST_ID] = _id_of(request)
    for name in CLIENT_IDS:
        if name not in response.headers and is_id(request.headers.get(name, "")):
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
