"""Requests, records and envelopes with everything filled in that a test does not care about."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from agents.stage import Delivery, Record
from streams.codec import encode
from streams.events import (
    ChatRequested,
    Completion,
    Envelope,
    Event,
    Message,
    ReplyAddress,
    Usage,
)
from streams.topics import REPLIES, REQUESTS, Topic

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)


def chat(**fields: Any) -> ChatRequested:
    """A request for the capital of France."""
    given: dict[str, Any] = {"user_id": "ann"}
    if "messages" not in fields:
        given["query"] = "What is the capital of France?"
    return ChatRequested(**(given | fields))


def said(role: Any, text: str) -> Message:
    """A chat message."""
    return Message(role=role, content=text)


def envelope(request: ChatRequested | None = None, **fields: Any) -> Envelope:
    """An envelope of acme's, accepted at `NOW`, with a minute to live."""
    request = request or chat()
    given: dict[str, Any] = {
        "request_id": "r-1",
        "tenant": "acme",
        "user_id": request.user_id,
        "tier": "standard",
        "session_id": request.session_id,
        "accepted_at": NOW,
        "deadline_at": NOW + timedelta(minutes=1),
        "request": request,
        "reply_to": ReplyAddress(topic=REPLIES.name, partition=2, correlation_id=b"corr"),
    }
    return Envelope(**(given | fields))


def completion(content: str = "Paris is the capital of France.", **fields: Any) -> Completion:
    """An answer of gpt-4o."""
    given: dict[str, Any] = {
        "content": content,
        "model": "gpt-4o-2024-08-06",
        "finish_reason": "stop",
        "usage": Usage(input_tokens=12, output_tokens=7, cached_tokens=2, reasoning_tokens=1),
        "provider": "openai",
    }
    return Completion(**(given | fields))


def record(
    event: Event | bytes | None = None,
    *,
    topic: Topic = REQUESTS,
    key: bytes | None = None,
    headers: Sequence[tuple[str, bytes]] = (),
    offset: int = 7,
    timestamp_ms: int = NOW_MS,
) -> Record:
    """A record that carries `event`, or the bytes given."""
    value = encode(event) if isinstance(event, Event) else event
    return Record(
        topic=topic.name,
        partition=3,
        offset=offset,
        timestamp_ms=timestamp_ms,
        key=key,
        value=value,
        headers=tuple(headers),
    )


def delivery(event: Any, *, topic: Topic = REQUESTS, **fields: Any) -> Delivery[Any]:
    """An event delivered in a record of its own."""
    return Delivery(event=event, record=record(event, topic=topic, **fields))
