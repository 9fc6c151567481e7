"""Each query of the catalogue as a path of its own in the OpenAPI document."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from fastapi import FastAPI

from analytics.reports.catalogue import Query, QueryParameter
from analytics.reports.result_formats import FORMATS
from streams.serving.fastapi_errors import describe_errors, errors

#: JSON's types of parameters that are no text, and how their defaults are read.
_NUMBERS: Final[Mapping[str, tuple[str, Callable[[str], int | float]]]] = {
    "UInt32": ("integer", int),
    "Float64": ("number", float),
}
_ANY_QUERY: Final = "/v1/analytics/queries/{name}/rows"


_OTHER_TYPES: Final[dict[str, Any]] = {
    each.media_type.partition(";")[0]: {} for each in FORMATS.values() if each.name != "json"
}
#: What a question to ClickHouse may end in.
QUERY_ERRORS: Final = (429, 500, 504)
ROWS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The rows", "content": _OTHER_TYPES},
    **errors(403, 404, 406, *QUERY_ERRORS),
}


def describe(app: FastAPI, queries: Iterable[Query]) -> None:
    """Add the queries and all errors to the application's OpenAPI document."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = original()
            for query in queries:
                security = document["paths"][_ANY_QUERY]["get"]["security"]
                operation = {**_operation(query), "security": security}
                document["paths"][_ANY_QUERY.format(name=query.name)] = {"get": operation}
            describe_errors(document)
        return original()

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _operation(query: Query) -> dict[str, Any]:
    return {
        "tags": [query.group],
        "summary": query.title,
        "description": query.description,
        "operationId": f"query_{query.name}",
        "parameters": [*(_parameter(each) for each in query.parameters), _FORMAT],
        "responses": {
            "200": {"description": "the rows", "content": _content(query)},
            **{str(status): words for status, words in errors(403, 406, *QUERY_ERRORS).items()},
        },
    }


def _parameter(parameter: QueryParameter) -> dict[str, Any]:
    kind, read = _NUMBERS.get(parameter.type, ("string", str))
    schema: dict[str, Any] = {"type": kind}
    if parameter.low is not None:
        schema["minimum"] = parameter.low
    if parameter.high is not None:
        schema["maximum"] = parameter.high
    if parameter.choices:
        schema["enum"] = parameter.choices
    if parameter.default is not None:
        schema["default"] = read(parameter.default)
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.default is None,
        "description": parameter.doc,
        "schema": schema,
    }


def _content(query: Query) -> dict[str, Any]:
    columns = {column.name: {"description": f"{column.doc} ({column.unit})"} for column in query.columns}
    body = {
        "type": "object",
        "required": ["query", "parameters", "columns", "rows"],
        "properties": {
            "query": {"const": query.name},
            "parameters": {"type": "object"},
            "columns": {"type": "array", "items": {"type": "object"}},
            "rows": {"type": "array", "items": {"type": "object", "properties": columns}},
        },
    }
    return {"application/json": {"schema": body}, **_OTHER_TYPES}


_FORMAT: Final = {
    "name": "format",
    "in": "query",
    "required": False,
    "description": "goes before the header Accept",
    "schema": {"type": "string", "enum": list(FORMATS), "default": "json"},
}
