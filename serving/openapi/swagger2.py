"""The description in Swagger 2, which is what GET /swagger.json gives where no version is asked for."""

from __future__ import annotations

from serving.openapi.answers import ERRORS, answer_example, answer_schemas
from serving.openapi.documents import (
    ANSWER_ABOUT,
    MESSAGE,
    REQUEST_ABOUT,
    SECURITY,
    description,
    health,
    info,
    score,
)
from serving.rows import Json
from serving.schema import DIALECTS
from serving.settings import Settings


def swagger2(settings: Settings, version: str) -> dict[str, Json]:
    """Return what Swagger 2 can say of it, under the names that Azure's own clients look for.

    It has no anyOf: the body is described by its keys, whose values have a type where all dialects agree on it, and the
    answer by an example. Everything else is in version 3.
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
        "ServiceInput": body | {"description": about, "example": first.example("fill-mask")},
        "ServiceOutput": {"description": ANSWER_ABOUT, "example": answer_example("fill-mask", first)},
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
    """Return an operation of OpenAPI 3 as Swagger 2 writes it, its body aside."""
    responses = {}
    for status, response in operation["responses"].items():
        ((_, content),) = response["content"].items()
        schema = content["schema"]
        # Either of two forms is an object, which is all that Swagger 2 can say.
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
