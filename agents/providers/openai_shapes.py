"""What is read of Chat Completions answers: whole ones, chunks of streamed ones, and their usage.

The official client builds a model of its own for each chunk of each stream, which is half of what the client
costs. It hands out plain JSON on request (`cast_to=object`), and these structs read that for far
less. Whatever is not named here is skipped; everything may be missing, because those who speak OpenAI's
language leave things out.
"""

from typing import Any

import msgspec


class _Shape(msgspec.Struct, frozen=True, kw_only=True):
    pass


class FunctionPiece(_Shape, frozen=True, kw_only=True):
    """The next piece of a function's name and arguments."""

    name: str | None = None
    arguments: str | None = None


class ToolPiece(_Shape, frozen=True, kw_only=True):
    """The next piece of a tool call; `index` tells which."""

    index: int | None = None
    id: str | None = None
    function: FunctionPiece | None = None


class Said(_Shape, frozen=True, kw_only=True):
    """The next piece of what the model says."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: tuple[ToolPiece, ...] | None = None


class ChunkChoice(_Shape, frozen=True, kw_only=True):
    """One of the answers within a chunk."""

    delta: Said | None = None
    finish_reason: str | None = None


class Chunk(_Shape, frozen=True, kw_only=True):
    """One event of a streamed answer."""

    model: str | None = None
    choices: tuple[ChunkChoice, ...] | None = None
    usage: Any = None  # read by `usage.believed`: a count that is none spoils no answer
    service_tier: Any = None  # likewise


class SaidWhole(_Shape, frozen=True, kw_only=True):
    """What the model said. The tool calls are passed on as they are."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: tuple[dict[str, Any], ...] | None = None


class Choice(_Shape, frozen=True, kw_only=True):
    """One of the answers."""

    message: SaidWhole
    finish_reason: str | None = None


class Completion(_Shape, frozen=True, kw_only=True):
    """A whole answer."""

    model: str | None = None
    choices: tuple[Choice, ...] | None = None
    usage: Any = None  # read by `usage.believed`: a count that is none spoils no answer
    service_tier: Any = None  # likewise
