"""The client's errors.

RuntimeError
└── ClientError              the client cannot do this: no workspace is named, or nobody is signed in to Azure
    └── UnsupportedError     only Azure has this sub-object, method or argument (also an AttributeError, for hasattr)

Otherwise the client of this machine raises what MLClient raises: ResourceNotFoundError, ResourceExistsError and
HttpResponseError of azure.core.exceptions, ValidationException and JobException of azure.ai.ml.exceptions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from azure.ai.ml.exceptions import JobException, ValidationErrorType, ValidationException
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from asset.findings import InvalidFileError, JobError
from asset.local.endpoints.errors import ConflictError, EndpointError, InvalidEndpointError, NotFoundError
from asset.local.jobs.errors import RunError


class ClientError(RuntimeError):
    """The client cannot do this; the message says why and what to do."""


class UnsupportedError(ClientError, AttributeError):
    """Only Azure supports this."""


def invalid(message: str) -> ValidationException:
    """Return the SDK's error for an entity or argument that is not valid."""
    return ValidationException(message, message, error_type=ValidationErrorType.INVALID_VALUE)


def failed_job(message: str) -> JobException:
    """Return the SDK's error for a job that failed, or that is in the wrong state for a request."""
    return JobException(message, message)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise errors of endpoints and jobs as the SDK's errors."""
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
    except (JobError, InvalidFileError) as exc:
        raise invalid(str(exc)) from exc
