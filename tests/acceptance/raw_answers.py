"""Raw answers for the providers of the running system: what any server might send, byte by byte.

system.behave(raw_answers=[raw(marker, *events({"choices": [...]}, "[DONE]"), bill={"input_tokens": 3})])
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

JSON = "application/json"
EVENTS = "text/event-stream"


def raw(
    marker: str | None,
    *chunks: bytes,
    content_type: str = EVENTS,
    headers: Mapping[str, str] | None = None,
    bill: Mapping[str, int] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Return the rule for the calls whose prompt has the marker (None: all of them).

    Args:
        marker: a word of the prompt.
        chunks: of the body, each written by itself.
        content_type: of the body.
        headers: further ones.
        bill: the tokens that the invoice has for each call; without it there is no entry.
        fields: of the rule besides: `next_calls`, `status`, `end`, `provider`, `model`.
    """
    return {
        "prompt_contains": marker,
        "headers": {"content-type": content_type, **(headers or {})},
        "chunks": [{"base64": base64.b64encode(chunk).decode()} for chunk in chunks],
        "bill": None if bill is None else dict(bill),
        **fields,
    }


def events(*data: object) -> list[bytes]:
    """Return server-sent events: bytes and texts as they are, others as JSON, Anthropic's with a name."""
    return [_event(each) for each in data]


def whole(body: object) -> bytes:
    """Return a JSON body; halves of characters are escaped, as real servers do."""
    return json.dumps(body).encode()


def _event(data: object) -> bytes:
    if isinstance(data, bytes):
        return b"data: " + data + b"\n\n"
    if isinstance(data, str):
        return b"data: " + data.encode() + b"\n\n"
    name = f"event: {data['type']}\n".encode() if isinstance(data, dict) and "type" in data else b""
    return name + b"data: " + whole(data) + b"\n\n"
