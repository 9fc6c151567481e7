"""Requests as senders may send them: the events of the entrance topics, without unknown fields.

An event ignores unknown fields, because a newer writer may have added them. A parameter of a sender must not
be dropped silently: incoming records are decoded with these types too, which refuse unknown fields by name.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from streams.errors import InvalidRequest
from streams.events import (
    CacheBreakpoint,
    CacheControl,
    ChatRequested,
    EmbeddingsRequested,
    Message,
    Requested,
    TextPart,
)
from streams.request_rules.chat import MAX_MESSAGES
from streams.request_rules.faults import ANY_FIELD, explain
from streams.request_rules.parameters import NAMES, UNKNOWN_HINT

#: What to do about fields that are not where they belong.
HINTS = {name: f'it goes into "params": {{"{name}": …}}' for name in NAMES} | {ANY_FIELD: UNKNOWN_HINT}


class SentCacheControl(
    CacheControl, frozen=True, kw_only=True, tag_field="type", tag="ephemeral", forbid_unknown_fields=True
):
    """A `cache_control` without unknown fields."""


class SentCacheBreakpoint(CacheBreakpoint, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `prompt_cache_breakpoint` without unknown fields."""


class SentPart(TextPart, frozen=True, kw_only=True, tag_field="type", tag="text", forbid_unknown_fields=True):
    """A text part without unknown fields."""

    cache_control: SentCacheControl | None = None
    prompt_cache_breakpoint: SentCacheBreakpoint | None = None


class SentMessage(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message. Fields that only answers have are accepted where they are empty."""

    content: str | tuple[SentPart, ...] | None = None
    cache_control: SentCacheControl | None = None
    refusal: str | None = None
    audio: None = None
    function_call: None = None
    annotations: Annotated[tuple[dict[str, Any], ...], Meta(max_length=0)] | None = None
    parsed: None = None

    def as_message(self) -> Message:
        """Return the pipeline's message; a refusal becomes its text. With both, raise `InvalidRequest`."""
        if self.refusal and self.text:
            raise InvalidRequest("refusal: beside content it is not supported", param="refusal")
        return Message(
            role=self.role,
            content=self.content if self.content is not None or not self.refusal else self.refusal,
            name=self.name,
            tool_calls=self.tool_calls,
            tool_call_id=self.tool_call_id,
            cache_control=self.cache_control,
        )


SentMessages = Annotated[tuple[SentMessage, ...], Meta(min_length=1, max_length=MAX_MESSAGES)]


class _Chat(ChatRequested, frozen=True, kw_only=True, forbid_unknown_fields=True):
    messages: SentMessages | None = None


class _Embeddings(EmbeddingsRequested, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


def check_fields(value: bytes, request: Requested) -> None:
    """Raise `InvalidRequest` for the first field of a record that its request ignores."""
    kind = _Chat if isinstance(request, ChatRequested) else _Embeddings
    try:
        sent = msgspec.json.decode(value, type=kind)
    except msgspec.ValidationError as fault:
        raise explain(fault, value, kind, hints=HINTS) from None
    for index, message in enumerate(getattr(sent, "messages", None) or ()):
        if message.refusal:
            where = f"messages[{index}].refusal"
            raise InvalidRequest(f"{where}: send it as content", code="unsupported_parameter", param=where)
