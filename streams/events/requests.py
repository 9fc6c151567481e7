"""The base of all events, and what senders ask for: chat requests and embeddings requests."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

#: The longest deadline a request may name, in milliseconds: 6 hours. Replies are kept longer than that.
MAX_DEADLINE_MS = 6 * 60 * 60 * 1000
#: OpenAI's maximum; an installation's own limit is lower (`HEADRACE_EMBEDDING_MAX_INPUTS`).
MAX_EMBEDDING_INPUTS = 2048
#: 8,192 tokens, the longest input of an embedding model, are about 40,000 characters of prose.
MAX_EMBEDDING_CHARS = 100_000

#: The end of the pattern refuses a final line break, which `$` alone lets through.
RequestId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,128}$(?!\n)")]
Name = Annotated[str, Meta(min_length=1, max_length=256)]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of everything that is encoded on a topic."""


class CacheControl(Event, frozen=True, kw_only=True, tag_field="type", tag="ephemeral"):
    """A cache breakpoint of Anthropic's models: the prompt is cached up to here. No effect elsewhere."""

    ttl: Literal["5m", "1h"] | None = None


class CacheBreakpoint(Event, frozen=True, kw_only=True):
    """A cache breakpoint of OpenAI's models: the prompt is cached up to here. No effect elsewhere."""

    mode: Literal["explicit"] | None = None
    ttl: Literal["30m", "12h"] | None = None


class TextPart(Event, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """A text part of a message. Images and audio are refused."""

    text: str
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class Message(Event, frozen=True, kw_only=True):
    """One chat message in OpenAI's wire shape.

    `cache_control` is set on results of tools only; other messages have it in their parts.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | tuple[TextPart, ...] | None = None
    name: str | None = None
    tool_calls: tuple[dict[str, Any], ...] | None = None
    tool_call_id: str | None = None
    cache_control: CacheControl | None = None

    @property
    def text(self) -> str:
        """The text of the message, its parts joined by line breaks."""
        if isinstance(self.content, tuple):
            return "\n".join(part.text for part in self.content)
        return self.content or ""

    def with_text(self, text: str) -> "Message":
        """Return the same message saying `text` instead."""
        return msgspec.structs.replace(self, content=text)


class Webhook(Event, frozen=True, kw_only=True):
    """The `url` that receives the reply as a signed POST once the request has ended."""

    url: Annotated[str, Meta(min_length=1, max_length=2048)]


class ChatRequested(Event, frozen=True, kw_only=True):
    """A chat request, from ingest or from any Kafka producer.

    It has either a `query` (with a prompt `template` and its `variables`) or `messages`. Without `request_id`
    the `ce_id` header counts; without `accepted_at` the record's timestamp. `params` holds further parameters
    of the models' own APIs by name, `headrace_cache` directives for the answer cache. Limits and meanings:
    `streams.request_rules`.
    """

    user_id: Name
    request_id: RequestId | None = None
    tenant: Name | None = None
    tier: Name | None = None
    session_id: Name | None = None
    query: str | None = None
    messages: Annotated[tuple[Message, ...], Meta(min_length=1)] | None = None
    template: Name | None = None
    variables: dict[str, str] | None = None
    model: Name | None = None
    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    response_format: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    tool_choice: str | dict[str, Any] | None = None
    params: dict[str, Any] | None = None
    stream: bool = False
    deadline_ms: Annotated[int, Meta(ge=1, le=MAX_DEADLINE_MS)] | None = None
    on_disconnect: Literal["continue", "cancel"] | None = None
    webhook: Webhook | None = None
    accepted_at: Annotated[datetime, Meta(tz=True)] | None = None
    metadata: dict[str, Any] | None = None
    headrace_cache: str | None = None


class EmbeddingsRequested(Event, frozen=True, kw_only=True):
    """A request for the embeddings of some texts, from ingest or from any Kafka producer.

    `dimensions` asks for shorter vectors. For the other fields see `ChatRequested`.
    """

    user_id: Name
    inputs: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=MAX_EMBEDDING_CHARS)], ...],
        Meta(min_length=1, max_length=MAX_EMBEDDING_INPUTS),
    ]
    model: Name
    request_id: RequestId | None = None
    tenant: Name | None = None
    tier: Name | None = None
    session_id: Name | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    deadline_ms: Annotated[int, Meta(ge=1, le=MAX_DEADLINE_MS)] | None = None
    on_disconnect: Literal["continue", "cancel"] | None = None
    accepted_at: Annotated[datetime, Meta(tz=True)] | None = None
    metadata: dict[str, Any] | None = None


#: What senders ask for, each on a topic of its own: `streams.pipeline.ENTRANCES`.
Requested = ChatRequested | EmbeddingsRequested
