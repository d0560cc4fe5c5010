"""What can go wrong with an endpoint here. The HTTP status stands for the error between a command and the endpoint's process.

RuntimeError
└── EndpointError             the message says what was expected, what was found and what to do
    ├── InvalidEndpointError  400  a setting that it cannot have
    ├── NotFoundError         404  there is no endpoint or deployment of this name
    ├── ConflictError         409  it cannot be done as things are: a deployment with traffic cannot be deleted
    ├── StartError            422  a deployment's server did not start; the message has the end of its log
    ├── NotRunningError       503  the endpoint's process is stopped
    │   └── DiedError         503  it ended without being told to
    └── UnavailableError      503  a deployment has no server now
"""

from __future__ import annotations


class EndpointError(RuntimeError):
    """Something about an endpoint here."""

    status = 500


class InvalidEndpointError(EndpointError):
    """A setting that an endpoint or a deployment cannot have here."""

    status = 400


class NotFoundError(EndpointError):
    """There is no endpoint or deployment of this name."""

    status = 404


class ConflictError(EndpointError):
    """It cannot be done as things are."""

    status = 409


class StartError(EndpointError):
    """A deployment's server did not start."""

    status = 422


class NotRunningError(EndpointError):
    """The endpoint's process is stopped."""

    status = 503


class DiedError(NotRunningError):
    """The endpoint's process ended without being told to."""


class UnavailableError(EndpointError):
    """A deployment has no server now."""

    status = 503


def error_of(status: int, message: str) -> EndpointError:
    """Return the error that a status stands for."""
    kinds = (InvalidEndpointError, NotFoundError, ConflictError, StartError, UnavailableError)
    return next((kind for kind in kinds if kind.status == status), EndpointError)(message)
