"""Errors of endpoints on this machine. Each has the HTTP status that it is sent with, from an endpoint's process to a command.

RuntimeError
└── EndpointError             500  anything else; the message says what is wrong and what to do
    ├── InvalidEndpointError  400  a setting or a name is not valid
    ├── NotFoundError         404  there is no endpoint or deployment of this name
    ├── ConflictError         409  the state does not allow it: a deployment with traffic cannot be deleted
    ├── StartError            422  a deployment's server did not start; the message has the end of its log
    ├── LostError             502  a deployment's server ended before it answered a request
    └── NotRunningError       503  the endpoint's process, or a deployment's server, does not run
"""

from __future__ import annotations


class EndpointError(RuntimeError):
    """An endpoint or a deployment cannot do this."""

    status = 500


class InvalidEndpointError(EndpointError):
    """A setting or a name of an endpoint or a deployment is not valid."""

    status = 400


class NotFoundError(EndpointError):
    """There is no endpoint or deployment of this name."""

    status = 404


class ConflictError(EndpointError):
    """The state of the endpoint or the deployment does not allow it."""

    status = 409


class StartError(EndpointError):
    """A deployment's server did not start."""

    status = 422


class LostError(EndpointError):
    """A deployment's server ended, or closed the connection, before it answered a request."""

    status = 502


class NotRunningError(EndpointError):
    """The endpoint's process, or a deployment's server, does not run."""

    status = 503


def error_of(status: int, message: str) -> EndpointError:
    """Return the error that has an HTTP status."""
    kinds = (InvalidEndpointError, NotFoundError, ConflictError, StartError, LostError, NotRunningError)
    return next((kind for kind in kinds if kind.status == status), EndpointError)(message)
