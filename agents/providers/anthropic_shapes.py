"""What is read of Anthropic Messages: whole ones, and the events of streamed ones.

The official client builds a model of its own for each event of each stream, a good part of what the client
costs. It hands out plain JSON on request (`cast_to=object`), and these structs read that for far
less. Whatever is not named here is skipped, and so are events of other types, as Anthropic asks.
"""

from collections.abc import Mapping
from typing import Any

import msgspec


class _Shape(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Block(_Shape, frozen=True, kw_only=True):
    """A part of an answer: `text`, or `tool_use` with a name and its input, or of another type."""

    type: str
    text: str | None = None
    id: str = ""
    name: str = ""
    input: dict[str, Any] = {}


class Message(_Shape, frozen=True, kw_only=True):
    """A whole answer, or its beginning."""

    model: str
    usage: Any = None  # read by `usage.believed`: a count that is none spoils no answer
    content: tuple[Block, ...] = ()
    stop_reason: str | None = None


class MessageStart(_Shape, frozen=True, kw_only=True):
    """The answer begins."""

    message: Message


class BlockStart(_Shape, frozen=True, kw_only=True):
    """A block begins."""

    index: int
    content_block: Block


class Piece(_Shape, frozen=True, kw_only=True):
    """The next piece of a block: `text_delta`, `input_json_delta` or another type."""

    type: str
    text: str | None = None
    partial_json: str = ""


class BlockDelta(_Shape, frozen=True, kw_only=True):
    """A block goes on."""

    index: int
    delta: Piece


class Ending(_Shape, frozen=True, kw_only=True):
    """Why the model has stopped."""

    stop_reason: str | None = None


class MessageDelta(_Shape, frozen=True, kw_only=True):
    """The answer ends."""

    delta: Ending
    usage: Any = None


Event = MessageStart | BlockStart | BlockDelta | MessageDelta

_EVENTS: Mapping[str, type[Event]] = {
    "message_start": MessageStart,
    "content_block_start": BlockStart,
    "content_block_delta": BlockDelta,
    "message_delta": MessageDelta,
}


def read_event(data: object) -> Event | None:
    """Return an event of a stream; None for one that says nothing to us.

    Raises:
        TypeError: it is no object with a type.
        msgspec.ValidationError: it is not of the documented shape.
    """
    if not isinstance(data, dict):
        raise TypeError(f"an event is a {type(data).__name__}, not an object")
    kind = _EVENTS.get(data.get("type", ""))
    return None if kind is None else msgspec.convert(data, kind, strict=False)
