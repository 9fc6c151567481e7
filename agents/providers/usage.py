"""What a call has spent, where the provider can no longer say it itself."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from streams.events import Message, Usage
from streams.tokens import count_messages, count_text


def count_input(messages: Iterable[Message], tools: Iterable[Mapping[str, Any]] = ()) -> int:
    """Return the number of input tokens of a prompt, tool definitions included."""
    tokens = count_messages(msgspec.to_builtins(message) for message in messages)
    return tokens + sum(count_text(msgspec.json.encode(tool).decode()) for tool in tools)


def count_output(text: str, tool_calls: Iterable[Mapping[str, Any]] = ()) -> int:
    """Return the number of output tokens of an answer or of the part of it that came."""
    tokens = count_text(text)
    for call in tool_calls:
        function = call.get("function", {})
        tokens += count_text(function.get("name") or "") + count_text(function.get("arguments") or "")
    return tokens


def estimate(
    *,
    input_tokens: int,
    text: str,
    tool_calls: Iterable[Mapping[str, Any]] = (),
    reported: Usage | None = None,
) -> Usage:
    """Return what an answer that broke off has spent.

    What the provider `reported` before the break is taken as it is, but for the output where more came than
    was reported: providers report it in full only at the end.

    Args:
        input_tokens: our own count, used where the provider reported none.
        text: the text that came.
        tool_calls: the tool calls that came, whole or in part.
        reported: the usage that the provider had reported when the answer broke off.
    """
    output = count_output(text, tool_calls)
    if reported is None:
        return Usage(input_tokens=input_tokens, output_tokens=output)
    return msgspec.structs.replace(
        reported,
        input_tokens=reported.input_tokens or input_tokens,
        output_tokens=max(reported.output_tokens, output),
    )
