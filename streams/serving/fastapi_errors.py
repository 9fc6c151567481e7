"""Errors of FastAPI applications: their description in the OpenAPI document, and wrong parameters."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from streams.events import ErrorInfo
from streams.serving.middleware import Render, render_plainly

Document = dict[str, Any]
#: The schema of an error, for the operations of a path.
SchemaOf = Callable[[str], Mapping[str, Any]]

#: Answers of the protocol, before any route.
_ANY_ROUTE: Final = (400, 408, 414, 431, 503)
_WORDS: Final = {
    400: "The request is wrong: `param` says where",
    401: "There is no API key, or it is not known here",
    403: "The key does not open that",
    404: "There is no such thing, or it is not yours",
    406: "None of the types that were asked for is there",
    408: "The request did not arrive in time",
    409: "It conflicts with what was sent before, or has ended already",
    413: "The body is too large",
    415: "The body is compressed in a way that is not known here",
    414: "Path and query are too long",
    429: "Too much at once: try again later",
    431: "The headers are too large",
    500: "It failed here: the log has the reason under the request's id",
    503: "Too much is open, or something that it takes is away: try again later",
    504: "It took longer than it may",
}
_TEXT: Final = {"type": "string"}
_NULLABLE_TEXT: Final = {"type": ["string", "null"]}
_ERROR: Final = {
    "title": "Error",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code", "param", "request_id"],
            "properties": {
                "message": {**_TEXT, "description": "what is wrong, and what to change"},
                "type": _TEXT,
                "code": _TEXT,
                "param": {**_NULLABLE_TEXT, "description": "where it is wrong"},
                "request_id": {**_TEXT, "description": "the same as in the header X-Request-ID"},
                "repeat": {"const": True, "description": "an earlier submission of the request got the same"},
            },
        }
    },
}
OPENAI_ERROR: Final = {"$ref": "#/components/schemas/Error"}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route for its own errors."""
    return {status: {"description": _WORDS[status]} for status in statuses}


def describe_errors(document: Document, schema_of: SchemaOf = lambda _: OPENAI_ERROR) -> None:
    """Complete the errors of FastAPI's document, in place. FastAPI's own 422 never occurs.

    An operation that needs a key can answer 401 and 403, one with a body 413 and 415, each what the protocol
    answers.
    """
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Error"] = _ERROR
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _describe(operation, schema_of(path))


def _describe(operation: dict[str, Any], schema: Mapping[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    statuses = {
        *_ANY_ROUTE,
        *([401, 403] if operation.get("security") else []),
        *([413, 415] if "requestBody" in operation else []),
    }
    for status in statuses:
        responses.setdefault(str(status), {"description": _WORDS[status]})
    for status, response in responses.items():
        # FastAPI describes the whole stream as one text; readers take that for the schema of an event.
        response.get("content", {}).get("text/event-stream", {}).pop("schema", None)
        response["headers"] = {"X-Request-ID": {"schema": _TEXT}}
        if int(status) >= 400:
            response.setdefault("content", {"application/json": {"schema": schema}})
        if status in ("429", "503"):
            response["headers"]["Retry-After"] = {"schema": {"type": "integer"}}
    operation["responses"] = dict(sorted(responses.items()))


def answer_wrong_parameters(app: FastAPI, *, render: Render = render_plainly) -> None:
    """Answer a wrong parameter with a 400 that names it. The app must be inside a `RequestFrame`."""

    async def on_wrong_parameters(request: Request, fault: Exception) -> Response:
        if not isinstance(fault, RequestValidationError):
            raise fault
        first = fault.errors()[0]
        param = ".".join(str(part) for part in first["loc"][1:])
        message = f"{param}: {first['msg']}"
        error = ErrorInfo(type="invalid_request_error", code="invalid_request", message=message, param=param)
        return render(request, 400, error, {})

    app.add_exception_handler(RequestValidationError, on_wrong_parameters)
