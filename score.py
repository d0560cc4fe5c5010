"""The scoring script: what Azure ML's inference server calls. Wiring only; the work is in `serving`."""

import logging
from http import HTTPStatus
from pathlib import Path

from azureml_inference_server_http.api.aml_response import AMLResponse
from flask import Response, after_this_request, current_app, has_request_context

from serving.early_refusal import refuse_early
from serving.service import Service

_service: Service | None = None


def init() -> None:
    """Load the model, once in each worker."""
    global _service
    # The server configures its own logger only: without this, ours would say nothing below a warning.
    logging.getLogger("serving").setLevel(logging.INFO)
    logging.getLogger("serving").handlers = logging.getLogger("azmlinfsrv").handlers
    logging.getLogger("serving").propagate = False  # the root logger would say it again
    _service = Service.start(Path(__file__).parent)


def run(raw_data: str) -> object:
    """Answer a request body: JSON-ready data, or an AMLResponse with the error's status."""
    assert _service is not None, "the server calls init() first"
    answer = _service.answer(raw_data)
    if has_request_context():
        refuse_early(current_app, _service)  # from the next request on; init() runs before there is an application

        @after_this_request
        def add_headers(response: Response) -> Response:
            response.headers.update(answer.headers)
            return response

    return (
        answer.body if answer.status == HTTPStatus.OK else AMLResponse(answer.body, answer.status.value, json_str=True)
    )
