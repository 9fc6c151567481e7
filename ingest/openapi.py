"""The bodies and errors of the routes for `/docs`, generated from the types that the routes use."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from fastapi import FastAPI

from ingest.errors import ERROR_TYPES, is_anthropic_route
from streams.serving.fastapi_errors import OPENAI_ERROR, describe_errors, errors

_REF: Final = "#/components/schemas/{name}"
_ANTHROPIC_ERROR: Final = {
    "title": "AnthropicError",
    "type": "object",
    "required": ["type", "error", "request_id"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message", "code", "param"],
            "properties": {
                "type": {"enum": ERROR_TYPES},
                "message": {"type": "string"},
                "code": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "repeat": {"const": True},
            },
        },
        "request_id": {"type": "string"},
    },
}

#: The errors of a route that asks and waits for the answer.
ASKING_ERRORS: Final = errors(404, 409, 429, 500, 504)
#: The responses of such a route that streams where it is asked to.
ASKING: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The answer, or its stream", "content": {"text/event-stream": {}}},
    **ASKING_ERRORS,
}


def body_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that takes `kind` as its body."""
    schema = {"$ref": _REF.format(name=kind.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe(app: FastAPI, bodies: Iterable[type[msgspec.Struct]]) -> None:
    """Add the schemas of the routes' bodies and of all errors to the application's OpenAPI document."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = original()
            _, components = msgspec.json.schema_components(bodies, ref_template=_REF)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas.update(components, AnthropicError=_ANTHROPIC_ERROR)
            describe_errors(document, _error_of)
        return original()

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _error_of(path: str) -> Mapping[str, Any]:
    anthropic = {"$ref": _REF.format(name="AnthropicError")}
    if is_anthropic_route(path):
        return anthropic
    return {"oneOf": [OPENAI_ERROR, anthropic]} if path.startswith("/v1/models") else OPENAI_ERROR
