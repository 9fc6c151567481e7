"""A reply as HTTP shows it: the body of `GET /v1/requests/{id}`, and of a webhook."""

from decimal import Decimal
from typing import Any

import msgspec

from streams.events import Reply

_encoder = msgspec.json.Encoder(decimal_format="number")


def reply_view(reply: Reply) -> dict[str, Any]:
    """Return the whole reply, every field of it."""
    view = {name: getattr(reply, name) for name in reply.__struct_fields__}
    return view | {"cost_usd": plain(reply.cost_usd)}


def reply_json(reply: Reply) -> bytes:
    """Return the whole reply as JSON; money is a number with exactly its digits."""
    return _encoder.encode(reply_view(reply))


def plain(amount: Decimal) -> Decimal:
    """Return the same amount without an exponent or trailing zeros."""
    text = f"{amount:f}"
    return Decimal(text.rstrip("0").rstrip(".") or "0") if "." in text else Decimal(text)
