"""JSON responses: money as exact decimal numbers, times in RFC 3339."""

from typing import Any

import msgspec
from starlette.responses import Response

_encoder = msgspec.json.Encoder(decimal_format="number")


def to_json(value: object) -> bytes:
    """Return `value` as JSON; a `Decimal` becomes a number with exactly its digits."""
    return _encoder.encode(value)


class JsonResponse(Response):
    """A response whose content msgspec encodes."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return to_json(content)
