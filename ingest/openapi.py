"""Descriptions of the request bodies for `/docs`, from the very types that decode them."""

from typing import Any

import msgspec
from fastapi import FastAPI

from ingest.anthropic_schemas import MessagesBody
from ingest.embeddings_schemas import EmbeddingsBody
from ingest.feedback import FeedbackBody
from ingest.openai_schemas import CompletionBody
from ingest.schemas import ChatBody, SubmitBody

_REF = "#/components/schemas/{name}"
_BODIES = (ChatBody, SubmitBody, CompletionBody, MessagesBody, EmbeddingsBody, FeedbackBody)


def body_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that takes `kind` as its body."""
    schema = {"$ref": _REF.format(name=kind.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe_bodies(app: FastAPI) -> None:
    """Add the schemas of the bodies to the application's OpenAPI document."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = original()
            _, components = msgspec.json.schema_components(_BODIES, ref_template=_REF)
            document.setdefault("components", {}).setdefault("schemas", {}).update(components)
        return original()

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way
