"""The published description of the service, in Swagger 2, OpenAPI 3.0 and OpenAPI 3.1.

`asset tools openapi` writes swagger2.json, swagger3.json and swagger3.1.json beside score.py. The inference server reads all three when it starts
and answers GET /swagger.json with swagger2.json if no version is asked for, else with the file of the version; for a
missing file it would make an empty description.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from serving.answering.models import model_class
from serving.http.openapi.answers import ERRORS, answer_example, answer_name, answer_schemas, error_example
from serving.http.openapi.requests import ref, request_name, request_schemas
from serving.requests.rows import Json
from serving.requests.schema import DIALECTS, Dialect
from serving.settings import Settings
from serving.tasks import TASKS, Task

ROOT = Path(__file__).resolve().parents[3]
TITLE = "BERT on Azure Machine Learning"
ABOUT = """\
A deployment serves one model, and the model one task: {tasks}. This \
description holds the requests and answers of all tasks; a request of another task is answered 400 with the code \
wrong_task. The limits are those of the default settings, and a body of more than {bytes} bytes is answered 413. \
A managed endpoint of Azure asks for its key or token, and shows its caller an error's status as 424; the server \
itself takes requests without either. Errors with a message alone are the inference server's own."""
REQUEST_ABOUT = "A body of one task, in the dialect of one client. The answer comes in the same dialect."
ANSWER_ABOUT = "In the shape that the request's client reads; the x- headers tell how it was made."
SECURITY = {"type": "apiKey", "name": "Authorization", "in": "header", "description": "For example: Bearer abc123"}

OUR_HEADERS: dict[str, dict[str, Json]] = {
    "x-model-name": {"type": "string", "description": "The model that answered."},
    "Server-Timing": {
        "type": "string",
        "description": "Milliseconds in the queue, the tokenizer and the model: queue;dur=0.0, tokenize;dur=0.1, "
        "compute;dur=4.6",
    },
    "x-batch-rows": {
        "type": "integer",
        "minimum": 0,
        "description": "Rows of the largest batch that this request's went through the model in, with other requests'.",
    },
}
"""The headers of every answer of the service."""

COUNTERS = {
    "x-windowed-rows": "rows longer than the model, which were read in windows.",
    "x-truncated-rows": "rows longer than the model, whose end was not read.",
}
"""The headers that count long rows, in an answer with status 200."""

RETRY_HEADERS: dict[str, dict[str, Json]] = {
    "Retry-After": {"type": "integer", "minimum": 1, "description": "Seconds until the queue has room, about."}
}

REQUEST_ID_CHARACTERS = 100
VERSIONS = ("2", "2.0", "3", "3.0", "3.1")
MESSAGE = {"type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}}


def openapi31(settings: Settings, version: str) -> dict[str, Json]:
    """Return the description in OpenAPI 3.1; `version` is the asset's version."""
    schemas = request_schemas(settings) | answer_schemas(settings)
    models = {task: model_class(task) for task in TASKS}
    pairs = [(task, dialect) for task in TASKS for dialect in DIALECTS if dialect.serves(models[task].input.fields)]
    schemas["ServiceInput"] = {
        "description": REQUEST_ABOUT,
        "anyOf": [ref(request_name(*pair)) for pair in pairs],
    }
    schemas["ServiceOutput"] = {"description": ANSWER_ABOUT, "anyOf": [ref(answer_name(*pair)) for pair in pairs]}
    schemas["ErrorResponse"] = MESSAGE | {"description": "What the inference server answers by itself."}
    return {
        "openapi": "3.1.0",
        "info": info(settings, version),
        "security": [{}, {"Bearer": []}],
        "paths": {
            "/": {"get": health()},
            "/score": {"post": score(pairs)},
            "/swagger.json": {"get": description()},
        },
        "components": {"schemas": schemas, "securitySchemes": {"Bearer": SECURITY}},
    }


def openapi30(document: Json) -> Json:
    """Convert a description from OpenAPI 3.1 to 3.0, which has one type a schema and the keyword nullable.

    >>> openapi30({"type": ["string", "null"], "description": "either"})
    {'type': 'string', 'description': 'either', 'nullable': True}
    """
    if isinstance(document, list):
        return [openapi30(item) for item in document]
    if not isinstance(document, dict):
        return document
    if "openapi" in document:
        document = document | {"openapi": "3.0.3"}
    kinds = document.get("type")
    if not isinstance(kinds, list):
        return {key: openapi30(value) for key, value in document.items()}
    null = {"nullable": True} if "null" in kinds else {}
    single = [kind for kind in kinds if kind != "null"]
    if len(single) == 1:
        return openapi30(document | {"type": single[0]} | null)
    shared = {key: document[key] for key in ("description",) if key in document}
    rest = {key: value for key, value in document.items() if key not in ("type", "description")}
    return shared | {"anyOf": [openapi30({"type": kind} | null | _of_kind(kind, rest)) for kind in single]}


def info(settings: Settings, version: str) -> dict[str, Json]:
    """Return the title, text and version of the description."""
    *others, last = TASKS
    about = ABOUT.format(tasks=f"{', '.join(others)} or {last}", bytes=settings.max_body_bytes)
    return {"title": TITLE, "description": about, "version": version}


def _of_kind(kind: str, keywords: dict[str, Json]) -> dict[str, Json]:
    """Return the keywords of JSON Schema that apply to a type."""
    applied = {
        "string": ("minLength", "maxLength", "pattern", "enum"),
        "array": ("minItems", "maxItems", "items"),
        "integer": ("minimum", "maximum"),
    }
    return {key: value for key, value in keywords.items() if key in applied[kind]}


def score(pairs: list[tuple[Task, Dialect]]) -> dict[str, Json]:
    """Return the operation that scores, with the example of each task and dialect."""
    requests = {
        request_name(*pair): {"summary": _summary(*pair), "value": pair[1].example(model_class(pair[0]).input)}
        for pair in pairs
    }
    for task in dict.fromkeys(task for task, _ in pairs):
        body = DIALECTS[0].example(model_class(task).input) | {"parameters": {"top_k": 2}}
        requests[f"{task}.parameters"] = {"summary": f"{task}, with parameters", "value": body}
    return {
        "operationId": "RunMLService",
        "summary": "Answer with the model",
        "description": "Text in any other encoding than UTF-8, and a form, are answered 400. GET /score, which reads the "
        "query as the body, is the inference server's own and no part of this.",
        "parameters": _identified(),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref("ServiceInput"), "examples": requests}},
        },
        "responses": _answers(pairs) | _long_id(),
    }


def _answers(pairs: list[tuple[Task, Dialect]]) -> dict[str, Json]:
    examples = {request_name(*pair): {"summary": _summary(*pair), "value": answer_example(*pair)} for pair in pairs}
    headers = _headers(OUR_HEADERS, required=True) | _headers(_count_headers())
    responses = {"200": _response(ANSWER_ABOUT, ref("ServiceOutput"), headers, examples)}
    for status, (about, _) in ERRORS.items():
        schema, headers = ref(f"error.{status}"), _headers(OUR_HEADERS, required=True)
        if status in (400, 500):  # the inference server's own too: a body that is not UTF-8, a failure around run()
            schema, headers = {"anyOf": [schema, ref("ErrorResponse")]}, _headers(OUR_HEADERS)
        if status == 429:
            headers |= _headers(RETRY_HEADERS, required=True)
        responses[str(status)] = _response(
            about, schema, headers, {f"error.{status}": {"summary": about, "value": error_example(status)}}
        )
    return responses


def _count_headers() -> dict[str, dict[str, Json]]:
    headers = {}
    for name, about in COUNTERS.items():
        tasks = ", ".join(task for task in TASKS if model_class(task).form.counter == name)
        headers[name] = {"type": "integer", "minimum": 0, "description": f"{tasks}: {about}"}
    return headers


def _summary(task: Task, dialect: Dialect) -> str:
    return f"{task}, {dialect.client}"


def health() -> dict[str, Json]:
    """Return the operation of the health check."""
    healthy = {"schema": {"type": "string", "enum": ["Healthy"]}}
    return {
        "operationId": "ServiceHealthCheck",
        "summary": "Tell that the server is up",
        "parameters": _identified(),
        "responses": {"200": {"description": "It is.", "content": {"text/html": healthy}}} | _long_id(),
    }


def description() -> dict[str, Json]:
    """Return the operation that returns this description."""
    parameter = {
        "name": "version",
        "in": "query",
        "description": "Of Swagger or OpenAPI; by default 2.",
        "schema": {"type": "string", "enum": list(VERSIONS)},
    }
    answer = _response("This description.", {"type": "object"}, {})
    missing = _response("There is no description of this version.", ref("ErrorResponse"), {})
    return {
        "operationId": "GetSwaggerSpec",
        "summary": "Describe requests and answers",
        "parameters": [parameter, *_identified()],
        "responses": {"200": answer, "404": missing} | _long_id(),
    }


def _identified() -> list[Json]:
    schema = {"type": "string", "maxLength": REQUEST_ID_CHARACTERS}
    about = "What the request is called in the server's log; the answer has it too."
    return [{"name": "x-request-id", "in": "header", "description": about, "schema": schema}]


def _long_id() -> dict[str, Json]:
    return {
        "431": _response(f"x-request-id has more than {REQUEST_ID_CHARACTERS} characters.", ref("ErrorResponse"), {})
    }


def _response(
    about: str, schema: dict[str, Json], headers: dict[str, Json], examples: dict[str, Json] | None = None
) -> dict[str, Json]:
    content = {"schema": schema} | ({"examples": examples} if examples else {})
    return {"description": about, "headers": headers, "content": {"application/json": content}}


def _headers(headers: dict[str, dict[str, Json]], **more: Json) -> dict[str, Json]:
    return {
        name: {
            "description": header["description"],
            **more,
            "schema": {key: value for key, value in header.items() if key != "description"},
        }
        for name, header in headers.items()
    }


def swagger2(settings: Settings, version: str) -> dict[str, Json]:
    """Return the description in Swagger 2, under the names that Azure's own clients look for.

    Swagger 2 has no anyOf: the body is described by its keys, which have a type if all dialects agree on it, and the answer
    by an example. The rest is in version 3.
    """
    first = DIALECTS[0]
    kinds: dict[str, set[type]] = {}
    for dialect in DIALECTS:
        kinds.setdefault(dialect.key, set()).update(dialect.types)
    words: dict[type, str] = {str: "string", list: "array", dict: "object"}
    keys = {key: _typed([words[kind] for kind in found]) for key, found in kinds.items()}
    about = f"{REQUEST_ABOUT} One of the keys, and parameters; ?version=3 has all of it."
    body = {"type": "object", "properties": keys | dict.fromkeys(("parameters", "params"), {"type": "object"})}
    definitions = {
        "ServiceInput": body | {"description": about, "example": first.example(model_class(next(iter(TASKS))).input)},
        "ServiceOutput": {"description": ANSWER_ABOUT, "example": answer_example(next(iter(TASKS)), first)},
        "ErrorResponse": MESSAGE,
        **{f"error.{status}": answer_schemas(settings)[f"error.{status}"] for status in ERRORS},
    }
    payload = {
        "name": "serviceInputPayload",
        "in": "body",
        "required": True,
        "description": REQUEST_ABOUT,
        "schema": {"$ref": "#/definitions/ServiceInput"},
    }
    return {
        "swagger": "2.0",
        "info": info(settings, version),
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "securityDefinitions": {"Bearer": SECURITY},
        "paths": {
            "/": {"get": _narrowed(health())},
            "/score": {"post": _narrowed(score([])) | {"parameters": [payload]}},
            "/swagger.json": {"get": _narrowed(description())},
        },
        "definitions": definitions,
    }


def _typed(kinds: list[str]) -> dict[str, Json]:
    return {"type": kinds[0]} | ({"items": {}} if kinds[0] == "array" else {}) if len(kinds) == 1 else {}


def _narrowed(operation: dict[str, Json]) -> dict[str, Json]:
    """Convert an operation from OpenAPI 3 to Swagger 2, without its body."""
    responses = {}
    for status, response in operation["responses"].items():
        ((_, content),) = response["content"].items()
        schema = content["schema"]
        # A choice of two forms becomes an object, as Swagger 2 has no choices.
        named = schema.get("$ref", "").replace("/components/schemas/", "/definitions/")
        headers = {
            name: header["schema"] | {"description": header["description"]}
            for name, header in response.get("headers", {}).items()
        }
        responses[status] = {
            "description": response["description"],
            "schema": {"$ref": named} if named else {"type": schema.get("type", "object")},
            **({"headers": headers} if headers else {}),
        }
    produces = sorted({media for response in operation["responses"].values() for media in response["content"]})
    parameters = [
        {key: value for key, value in parameter.items() if key != "schema"} | parameter["schema"]
        for parameter in operation["parameters"]
    ]
    kept = {key: operation[key] for key in ("operationId", "summary", "description") if key in operation}
    return kept | {"parameters": parameters, "produces": produces, "responses": responses}


def documents(version: str) -> dict[str, Json]:
    """Return each file's content by its name; `version` is the asset's version."""
    settings = Settings()
    newest = openapi31(settings, version)
    return {
        "swagger2.json": swagger2(settings, version),
        "swagger3.json": openapi30(newest),
        "swagger3.1.json": newest,
    }


def text(document: Json) -> str:
    """Return the text of a file."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def asset_version() -> str:
    """Return the version that pyproject.toml gives."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def write() -> list[Path]:
    """Write the files beside score.py, and return their paths."""
    files = {ROOT / name: text(document) for name, document in documents(asset_version()).items()}
    for path, content in files.items():
        path.write_text(content, encoding="utf-8")
    return list(files)
