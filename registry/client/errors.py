"""What the client refuses, and the errors of what is below it in the Azure SDK's own.

RuntimeError
└── ClientError
    ├── UnsupportedError     what Azure alone has: a sub-object, a method, an argument (an AttributeError too)
    └── NoWorkspaceError     no workspace is named, or nobody is signed in

Where MLClient raises an error, so does the client of this machine: ResourceNotFoundError, ResourceExistsError and
HttpResponseError of azure.core.exceptions, ValidationException and JobException of azure.ai.ml.exceptions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from azure.ai.ml.exceptions import JobException, ValidationErrorType, ValidationException
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from asset.checks.pipeline.errors import JobError, RunError
from registry.endpoints.errors import ConflictError, EndpointError, InvalidEndpointError, NotFoundError


class ClientError(RuntimeError):
    """Something that the client cannot do."""


class UnsupportedError(ClientError, AttributeError):
    """Something that Azure alone has."""


class NoWorkspaceError(ClientError):
    """No workspace is named, or nobody is signed in."""


def invalid(message: str) -> ValidationException:
    """Return the error for an entity or an argument that cannot be."""
    return ValidationException(message, message, error_type=ValidationErrorType.INVALID_VALUE)


def failed_job(message: str) -> JobException:
    """Return the error for a job that failed, or cannot be asked for something yet."""
    return JobException(message, message)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise the errors of endpoints and jobs as the SDK's own."""
    try:
        yield
    except NotFoundError as exc:
        raise ResourceNotFoundError(str(exc)) from exc
    except ConflictError as exc:
        raise ResourceExistsError(str(exc)) from exc
    except InvalidEndpointError as exc:
        raise invalid(str(exc)) from exc
    except EndpointError as exc:
        raise HttpResponseError(str(exc)) from exc
    except RunError as exc:
        raise failed_job(str(exc)) from exc
    except JobError as exc:
        raise invalid(str(exc)) from exc
