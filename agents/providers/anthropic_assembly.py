"""Anthropic Messages answers, whole or as events, as our `Answer`."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from agents.providers.anthropic_shapes import (
    Block,
    BlockDelta,
    BlockStart,
    Message,
    MessageDelta,
    MessageStart,
    Piece,
    read_event,
)
from agents.providers.encodable import TextPieces, encodable, encodable_json
from agents.providers.faults import ConnectionLost, Malformed
from agents.providers.port import Answer, ProviderCall, ProviderEvent, TextDelta, UsageKnown
from agents.providers.usage import Reported, as_count, believed, count_output, estimate
from streams.events import Usage

_READ, _WRITTEN = _CACHE_COUNTS = ("cache_read_input_tokens", "cache_creation_input_tokens")
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def finish_reason(stop_reason: str) -> str:
    """Return OpenAI's word for why the model stopped."""
    return _FINISH.get(stop_reason, stop_reason)


def read_usage(usage: object, call: ProviderCall, *, count_output: Callable[[], int]) -> Usage:
    """Return the usage in our terms, as far as it can be believed.

    Anthropic's `input_tokens` are those that neither came from the cache nor went into it; ours are all. What
    went into it for an hour is in the breakdown `cache_creation` alone.
    """
    told = usage if isinstance(usage, dict) else {}
    hourly = _of(told.get("cache_creation"), "ephemeral_1h_input_tokens")
    parts = [told.get("input_tokens"), *(told.get(name) or 0 for name in _CACHE_COUNTS)]
    counts = [as_count(part) for part in parts]
    reported = Reported(
        input_tokens=None if None in counts else sum(count or 0 for count in counts),
        output_tokens=told.get("output_tokens"),
        cached_tokens=told.get(_READ),
        cache_write_tokens=told.get(_WRITTEN),
        cache_write_1h_tokens=hourly,
        reasoning_tokens=_of(told.get("output_tokens_details"), "thinking_tokens"),
        service_tier=told.get("service_tier"),
    )
    return believed(reported, call, count_output=count_output)


def _of(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def read_answer(data: object, call: ProviderCall) -> Answer:
    """Return a whole answer from its JSON.

    Args:
        data: the answer's JSON.
        call: what it answers.

    Raises:
        Malformed: it is not a message.
    """
    try:
        message = msgspec.convert(data, Message, strict=False)
    except msgspec.ValidationError as fault:
        raise Malformed(f"the answer is not a message: {fault}") from fault
    if not message.stop_reason:
        raise Malformed("the answer is not a message with a stop_reason")
    text = encodable("".join(block.text or "" for block in message.content if block.type == "text"))
    tools = [
        _tool_call(block.id, block.name, msgspec.json.encode(encodable_json(block.input)).decode())
        for block in message.content
        if block.type == "tool_use"
    ]
    return Answer(
        text=text,
        model=encodable(message.model),
        finish_reason=encodable(finish_reason(message.stop_reason)),
        usage=read_usage(message.usage, call, count_output=lambda: count_output(text, tools)),
        tool_calls=tuple(tools),
    )


class AnthropicAssembly:
    """Puts the events of one streamed answer together.

    Attributes:
        model: the model that answers, as the provider names it.
        chunks: how many events came.
        opened: whether the provider has taken the call: from then on it bills the prompt.
    """

    def __init__(self, call: ProviderCall) -> None:
        self._call = call
        self._text: list[str] = []
        self._pieces = TextPieces()
        self._tools: dict[int, dict[str, Any]] = {}
        self._told: dict[str, Any] = {}
        self._usage: Usage | None = None
        self._finish: str | None = None
        self.model: str | None = None
        self.chunks = 0
        self.opened = False

    def feed(self, data: object) -> Iterator[ProviderEvent]:
        """Take the JSON of the next event, and yield what it brings.

        Raises:
            TypeError: it is no event.
            msgspec.ValidationError: it is not of the documented shape.
        """
        self.chunks += 1
        match read_event(data):
            case BlockDelta(index=index, delta=delta):
                yield from self._goes_on(index, delta)
            case BlockStart(index=index, content_block=block):
                yield from self._begins(index, block)
            case MessageStart(message=message):
                # Its output count is a placeholder: nothing is written yet.
                self.model = encodable(message.model)
                yield self._spends({**_told(message.usage), "output_tokens": 0})
                self._told.pop("output_tokens")
            case MessageDelta(delta=ending, usage=usage):
                self._finish = ending.stop_reason or self._finish
                yield self._spends(_told(usage))

    def _begins(self, index: int, block: Block) -> Iterator[ProviderEvent]:
        if block.type == "tool_use":
            self._tools[index] = _tool_call(block.id, block.name, "")
        elif block.type == "text" and block.text:
            yield from self._said(self._pieces.feed(block.text))

    def _goes_on(self, index: int, delta: Piece) -> Iterator[ProviderEvent]:
        if delta.type == "text_delta" and delta.text:
            yield from self._said(self._pieces.feed(delta.text))
        elif delta.type == "input_json_delta":
            self._tools[index]["function"]["arguments"] += delta.partial_json

    def end(self) -> Iterator[ProviderEvent]:
        """Yield what is left of the text, after the last event."""
        yield from self._said(self._pieces.end())

    def _said(self, text: str) -> Iterator[ProviderEvent]:
        if text:
            self._text.append(text)
            yield TextDelta(text)

    def _spends(self, told: dict[str, Any]) -> UsageKnown:
        """Take the counts of an event: they are cumulative, so of each the last one counts."""
        self._told |= told
        self._usage = read_usage(self._told, self._call, count_output=self._count_output)
        return UsageKnown(self._usage, self.model or self._call.model)

    def _count_output(self) -> int:
        return count_output("".join(self._text), encodable_json(list(self._tools.values())))

    def answer(self) -> Answer:
        """Return the whole answer, after the last event.

        Raises:
            ConnectionLost: the stream ended before the answer did.
        """
        if self._finish is None:
            raise ConnectionLost("the stream ended before the answer did", after_chunks=self.chunks)
        return Answer(
            text="".join(self._text),
            model=self.model or self._call.model,
            finish_reason=encodable(finish_reason(self._finish)),
            usage=self._usage or self._estimate(),
            tool_calls=tuple(_with_arguments(self._tools[index]) for index in sorted(self._tools)),
        )

    def billed(self) -> Usage | None:
        """Return what a break at this point has cost; None where the provider had not taken the call."""
        return self._estimate() if self.opened else None

    def _estimate(self) -> Usage:
        return estimate(
            input_tokens=self._call.input_tokens,
            text="".join(self._text),
            tool_calls=encodable_json(list(self._tools.values())),
            reported=self._usage,
        )


def _told(usage: object) -> dict[str, Any]:
    """Return what an event says of the usage; a count that is null says nothing."""
    given = usage if isinstance(usage, dict) else {}
    return {name: value for name, value in given.items() if value is not None}


def _tool_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": encodable(name), "arguments": arguments}
    return {"id": encodable(call_id), "type": "function", "function": function}


def _with_arguments(tool: dict[str, Any]) -> dict[str, Any]:
    """Return the tool call with ``{}`` for arguments that never came: a call without any streams none."""
    function = tool["function"]
    return _tool_call(tool["id"], function["name"], encodable(function["arguments"]) or "{}")
