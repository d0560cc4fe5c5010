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

The two keys of an endpoint: either opens it, so that one can be exchanged while clients use the other.

Which deployment a request goes to: smooth weighted round-robin.

{"blue": 90, "green": 10} sends exactly 9 of each 10 requests to blue, and green's comes in their middle, not all in a row.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Self

from aiohttp import web
from multidict import CIMultiDict

from asset.local.endpoints.deployment import Deployment
from asset.local.endpoints.errors import InvalidEndpointError, UnavailableError
from asset.local.endpoints.server import Answer, LostError
from serving.http.request_log import CLIENT_IDS, REQUEST_ID, is_id, new_id
from tables.whole_file import write_json

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


MISSING, WRONG = "key_auth_bad_header_forbidden", "key_auth_access_denied"
"""What Azure answers, as plain text with status 401, where the header is not as it should be, and where the key is wrong."""


@dataclass(frozen=True)
class Keys:
    """Secrets: they are in a file that its owner alone may read, in no log and no message."""

    primary: str
    secondary: str

    @classmethod
    def fresh(cls) -> Self:
        """Make new ones."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read them; raises OSError or ValueError where there are none."""
        return cls(**json.loads(path.read_bytes()))

    def __repr__(self) -> str:
        return "Keys(…)"

    def write(self, path: Path) -> None:
        """Write them for the owner's eyes alone."""
        write_json(path, asdict(self))

    def exchanged(self, which: str) -> Self:
        """Return them with a new one in the place of "primary" or "secondary"."""
        return replace(self, **{which: secrets.token_urlsafe(24)})

    def refusal(self, authorization: str | None) -> str | None:
        """Return why a request with this Authorization header is refused; None where it is let in.

        Comparing takes as long for a key that is nearly right as for one that is wrong from its start.
        """
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            return MISSING
        key = given.strip().encode(errors="surrogateescape")
        right = [hmac.compare_digest(key, known.encode()) for known in (self.primary, self.secondary)]
        return None if any(right) else WRONG


ALL = 100


class Traffic:
    """The shares of an endpoint's deployments, in percent."""

    def __init__(self, shares: Mapping[str, int]) -> None:
        """Take shares as check_traffic lets them through."""
        self.shares = dict(shares)
        self._credit = {name: 0 for name, share in shares.items() if share}

    def pick(self) -> str | None:
        """Return the deployment whose turn it is; None where none has traffic."""
        if not self._credit:
            return None
        for name in self._credit:
            self._credit[name] += self.shares[name]
        chosen = max(self._credit, key=self._credit.__getitem__)
        self._credit[chosen] -= ALL
        return chosen


def check_traffic(shares: Mapping[str, object], deployments: set[str]) -> dict[str, int]:
    """Return shares of deployments that are there, whole numbers which add up to 100, or to 0.

    Raises:
        InvalidEndpointError: they are something else.
    """
    unknown = sorted(set(shares) - deployments)
    if unknown:
        known = ", ".join(sorted(deployments)) or "none"
        raise InvalidEndpointError(
            f"expected traffic to deployments of the endpoint ({known}), found {', '.join(unknown)}; deploy those first"
        )
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int) or not 0 <= share <= ALL:
            raise InvalidEndpointError(
                f"expected a whole number from 0 to 100 as the traffic of {name}, found {share!r}; write one"
            )
    whole = {name: share for name, share in shares.items() if isinstance(share, int)}
    if sum(whole.values()) not in (0, ALL):
        raise InvalidEndpointError(
            f"expected traffic that adds up to 100 (or to 0, for none), found {sum(whole.values())}; correct "
            + ", ".join(f"{name}={share}" for name, share in whole.items())
        )
    return whole
