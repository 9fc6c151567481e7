"""Anthropic Messages answers, whole or as events, as our `Answer`.

Events, blocks and pieces of other types are skipped, as Anthropic asks. Everything may be missing that shows
in another way. What cannot be understood is a fault: half an answer must not look whole.
"""

from collections.abc import Iterator
from typing import Any

from agents.providers.answers import json_fields, tool_calls
from agents.providers.answers.body import Value
from agents.providers.answers.chat_api import Assembly
from agents.providers.answers.tool_calls import ToolCall
from agents.providers.error_responses import error_in, fault_of_error
from agents.providers.faults import Malformed
from agents.providers.provider import ProviderCall, ProviderEvent, UsageKnown
from agents.providers.usage import ReportedUsage, as_count

_READ, _WRITTEN = _CACHE_COUNTS = ("cache_read_input_tokens", "cache_creation_input_tokens")
_HOURLY, _MINUTES = "ephemeral_1h_input_tokens", "ephemeral_5m_input_tokens"


def reported_usage(usage: dict[str, Any]) -> ReportedUsage:
    """Return the usage in our terms.

    Anthropic's `input_tokens` are those that neither came from the cache nor went into it; ours are all. What
    went into it for an hour is in the breakdown `cache_creation` alone.
    """
    fields = _with_written(usage)
    counts = [
        as_count(fields.get("input_tokens")),
        *(as_count(fields.get(name) or 0) for name in _CACHE_COUNTS),
    ]
    return ReportedUsage(
        input_tokens=None if None in counts else sum(count or 0 for count in counts),
        output_tokens=fields.get("output_tokens"),
        cached_tokens=fields.get(_READ),
        cache_write_tokens=fields.get(_WRITTEN),
        cache_write_1h_tokens=json_fields.field(fields.get("cache_creation"), _HOURLY),
        reasoning_tokens=json_fields.field(fields.get("output_tokens_details"), "thinking_tokens"),
        service_tier=fields.get("service_tier"),
    )


def _with_written(usage: dict[str, Any]) -> dict[str, Any]:
    """Return usage whose cache writes are counted: some servers send the breakdown alone."""
    parts = [as_count(json_fields.field(usage.get("cache_creation"), name)) for name in (_HOURLY, _MINUTES)]
    if usage.get(_WRITTEN) is not None or not any(parts):
        return usage
    return usage | {_WRITTEN: sum(part or 0 for part in parts)}


class AnthropicAssembly(Assembly):
    """Puts one answer together: its events, or the message that it is; it is done with `message_stop`."""

    finish_field = "stop_reason"

    def __init__(self, call: ProviderCall) -> None:
        super().__init__(call)
        self._open: dict[int, ToolCall | None] = {}
        self._last = -1
        self._counts: dict[str, Any] = {}

    def _take(self, value: Value) -> Iterator[ProviderEvent]:
        event = value.json
        error = error_in(event, named=value.name == "error")
        if error is not None:
            raise fault_of_error(error)
        if not isinstance(event, dict):
            raise Malformed("the answer is JSON, but no object")
        kind = event.get("type") or value.name
        match kind:
            case "content_block_delta":
                yield from self._block_delta(event)
            case "content_block_start":
                yield from self._block_start(
                    event.get("index"), json_fields.record(event.get("content_block"), kind)
                )
            case "message_start":
                yield from self._message_start(json_fields.record(event.get("message"), "message"))
            case "message_delta":
                yield from self._message_delta(
                    json_fields.record(event.get("delta"), "delta"), event.get("usage")
                )
            case "message_stop":
                self.done = True
            case _ if value.whole or kind == "message":
                yield from self._whole_message(event)

    def _whole_message(self, message: dict[str, Any]) -> Iterator[ProviderEvent]:
        if "content" not in message:
            raise Malformed("the answer is not a message with content")
        yield from self._message_start(message)
        yield from self._message_delta(message, message.get("usage"))
        self.done = True

    def _message_start(self, message: dict[str, Any]) -> Iterator[ProviderEvent]:
        if self._last >= 0:
            raise Malformed("a second message began within the answer")
        self.model = json_fields.short(message.get("model")) or None
        # Its output count is a placeholder: nothing is written yet.
        yield self._update_usage({**_without_nulls(message.get("usage")), "output_tokens": 0})
        self._counts.pop("output_tokens")
        content = message.get("content")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        for block in json_fields.records(content, "content"):
            yield from self._block_start(None, block)

    def _block_start(self, index: object, block: dict[str, Any]) -> Iterator[ProviderEvent]:
        number = json_fields.number(index)
        self._last = self._last + 1 if number is None else number
        self._open[self._last] = None
        self.ended = False
        if block.get("type") == "tool_use":
            tool = ToolCall(json_fields.short(block.get("id")), json_fields.text(block.get("name"), "name"))
            if block.get("input"):  # else it comes in pieces, or there is none
                tool.begin_with(block["input"])
            self._calls.append(tool)
            self._open[self._last] = tool
        elif block.get("type", "text") == "text":
            yield from self._add_text(json_fields.text(block.get("text"), "text"))

    def _block_delta(self, event: dict[str, Any]) -> Iterator[ProviderEvent]:
        piece = json_fields.record(event.get("delta"), "delta")
        number = json_fields.number(event.get("index"))
        if "partial_json" in piece:
            tool = self._open.get(self._last if number is None else number)
            if tool is None:
                if piece["partial_json"] and number not in self._open:
                    raise Malformed("arguments came for a tool call that had not begun")
                return  # of a tool that the provider calls itself
            self.ended = False
            self._text.count(tool_calls.piece_size(piece["partial_json"]))
            tool.add(piece["partial_json"])
        elif piece.get("type", "text_delta") == "text_delta":
            self._last = max(self._last, 0)
            yield from self._add_text(json_fields.text(piece.get("text"), "text"))

    def _message_delta(self, ending: dict[str, Any], usage: object) -> Iterator[ProviderEvent]:
        self._add_finish_reason(json_fields.text(ending.get(self.finish_field), self.finish_field))
        yield self._update_usage(_without_nulls(usage))

    def _update_usage(self, counts: dict[str, Any]) -> UsageKnown:
        """Take the counts of an event: they are cumulative, so of each the last one counts."""
        self._counts |= counts
        return self._add_usage(reported_usage(self._counts))


def _without_nulls(usage: object) -> dict[str, Any]:
    """Return what an event says of the usage; a count that is null says nothing."""
    given = usage if isinstance(usage, dict) else {}
    return {name: value for name, value in given.items() if value is not None}
