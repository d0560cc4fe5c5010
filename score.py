"""The scoring script that Azure ML's inference server calls. The work is done in `serving`."""

from http import HTTPStatus
from pathlib import Path

from azureml_inference_server_http.api.aml_response import AMLResponse
from flask import Response, after_this_request, has_request_context, request

from serving.answering.service import Service
from serving.http.inference_server import join_server_log, wrap_application
from serving.http.request_log import ANSWER
from serving.http.stalled_clients import let_go_of_stalled_clients

_service: Service | None = None


def init() -> None:
    """Load the model, once in each worker."""
    global _service
    join_server_log()
    _service = Service.start(Path(__file__).parent)
    wrap_application(_service)
    let_go_of_stalled_clients(_service.settings.stall_ms)


def run(raw_data: str) -> object:
    """Answer a request body with JSON-ready data, or with an AMLResponse that has the error's status."""
    assert _service is not None, "the server calls init() first"
    answer = _service.answer(raw_data)
    if has_request_context():
        request.environ[ANSWER] = answer

        @after_this_request
        def add_headers(response: Response) -> Response:
            response.headers.update(answer.headers)
            return response

    return (
        answer.body if answer.status == HTTPStatus.OK else AMLResponse(answer.body, answer.status.value, json_str=True)
    )
