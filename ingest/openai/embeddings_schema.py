"""The body of OpenAI's Embeddings."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ingest.native.schema import DEFAULT_USER
from streams.errors import InvalidRequest
from streams.events import MAX_EMBEDDING_CHARS, MAX_EMBEDDING_INPUTS, EmbeddingsRequested, Name

EncodingFormat = Literal["float", "base64"]


class EmbeddingsBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /v1/embeddings` takes."""

    # Token arrays are in the type, so that their refusal can say why.
    input: str | tuple[str | int | tuple[int, ...], ...]
    model: Name
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    encoding_format: EncodingFormat | None = None
    user: Name | None = None


def embeddings_request(
    body: EmbeddingsBody, *, user_header: str | None, deadline_ms: int | None
) -> EmbeddingsRequested:
    """Return the event for an Embeddings body; `InvalidRequest` for texts that are empty or too long.

    The header `X-Headrace-User` goes before the field `user`.
    """
    given = (body.input,) if isinstance(body.input, str) else body.input
    if not 1 <= len(given) <= MAX_EMBEDDING_INPUTS:
        raise InvalidRequest(
            f"input must have 1 to {MAX_EMBEDDING_INPUTS} texts, not {len(given)}", param="input"
        )
    alone = isinstance(body.input, str)
    inputs = tuple(_text(each, "input" if alone else f"input[{index}]") for index, each in enumerate(given))
    return EmbeddingsRequested(
        user_id=user_header or body.user or DEFAULT_USER,
        inputs=inputs,
        model=body.model,
        dimensions=body.dimensions,
        deadline_ms=deadline_ms,
    )


def _text(given: str | int | tuple[int, ...], where: str) -> str:
    if not isinstance(given, str):
        raise InvalidRequest(
            "token arrays are not supported, because personal data in them could not be found: "
            "send the texts themselves (LangChain: check_embedding_ctx_length=False)",
            param="input",
            code="unsupported_parameter",
        )
    if not given:
        raise InvalidRequest(f"{where} must have at least one character", param=where, code="empty_string")
    if len(given) > MAX_EMBEDDING_CHARS:
        raise InvalidRequest(
            f"{where} has {len(given)} characters; at most {MAX_EMBEDDING_CHARS} are allowed: split it",
            param=where,
            code="string_above_max_length",
        )
    return given
