"""The records that end a request: its outcome, its reply at the sender's reply address, its webhook.

The reply address is in the headers that Spring's `ReplyingKafkaTemplate` writes.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from agents.checks import pii
from agents.stage import Record
from streams.codec import header, header_text
from streams.errors import InputError, InvalidRequest
from streams.events import (
    Completion,
    Envelope,
    ErrorInfo,
    OutcomeReached,
    Reply,
    ReplyAddress,
    Status,
    WebhookDue,
)
from streams.pipeline import TOPICS
from streams.publisher import Emit
from streams.topics import OUTCOMES, REPLIES, WEBHOOKS

#: Spring's correlation ids have 16 bytes; a UUID as text has 36.
MAX_CORRELATION_ID_BYTES = 1024
#: Kafka's rule for the names of topics.
_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)


def reply_address(record: Record, allowed_topics: Sequence[str]) -> ReplyAddress:
    """Return where the reply goes.

    `allowed_topics` are names or shell patterns of topics that may be named. `llm.replies.v1` always may;
    Headrace's other topics, and names that begin with `_` or `.`, never may: `InvalidRequest`.
    """
    topic = header_text(record.headers, "kafka_replyTopic") or REPLIES.name
    is_listed = any(fnmatchcase(topic, pattern) for pattern in allowed_topics)
    if topic != REPLIES.name and not (may_be_named(topic) and is_listed):
        mend = "add it to HEADRACE_REPLY_TOPICS" if may_be_named(topic) else "it is an internal topic"
        raise InvalidRequest(
            f"replies to topic {topic[:249]!r} are not allowed: {mend}",
            code="reply_topic_not_allowed",
            param="kafka_replyTopic",
        )
    partition = header(record.headers, "kafka_replyPartition")
    return ReplyAddress(
        topic=topic,
        partition=int.from_bytes(partition, "big") if partition and len(partition) == 4 else None,
        correlation_id=correlation_id_of(record),
    )


def own_reply_address(record: Record) -> ReplyAddress:
    """Return the address on our own reply topic, for a sender whose own choice was refused."""
    return ReplyAddress(topic=REPLIES.name, correlation_id=correlation_id_of(record))


def allowed_reply_address(record: Record, allowed_topics: Sequence[str]) -> ReplyAddress:
    """Return the address that the sender names if it may, and otherwise the one on our own reply topic."""
    try:
        return reply_address(record, allowed_topics)
    except InputError:
        return own_reply_address(record)


def may_be_named(topic: str) -> bool:
    """Whether a sender may name a topic for replies: none of ours, and no internal one of Kafka's."""
    return topic not in TOPICS and _TOPIC_NAME.fullmatch(topic) is not None and topic[0] not in "_."


def correlation_id_of(record: Record) -> bytes | None:
    """Return the sender's correlation id; None where it is too long to be taken."""
    found = header(record.headers, "kafka_correlationId")
    return found if found is not None and len(found) <= MAX_CORRELATION_ID_BYTES else None


def reply_emit(reply: Reply, address: ReplyAddress) -> Emit:
    """Return the record that carries a reply to where its sender waits for it."""
    headers = [("kafka_correlationId", address.correlation_id)] if address.correlation_id else []
    return Emit(
        topic=address.topic,
        key=reply.request_id,
        value=reply,
        headers=tuple(headers),
        partition=address.partition,
    )


def to_own_topic(reply: Emit) -> Emit:
    """Return a reply readdressed to our own reply topic, because the sender's does not exist any more."""
    return msgspec.structs.replace(reply, topic=REPLIES.name, partition=None)


def outcome_emits(
    envelope: Envelope,
    status: Status,
    *,
    completion: Completion | None = None,
    error: ErrorInfo | None = None,
) -> tuple[Emit]:
    """Return the one record that ends a request with this status."""
    outcome = OutcomeReached(envelope=envelope, status=status, completion=completion, error=error)
    return (Emit.to(OUTCOMES, outcome, key=envelope.request_id),)


def input_error_info(fault: InputError) -> ErrorInfo:
    """Return the error that a sender gets for invalid input, with the whole message.

    The message may quote the request. Personal data in it is redacted, because errors are logged.
    """
    return ErrorInfo(
        type="invalid_request_error",
        code=fault.code,
        message=pii.redact(fault.message).text,
        param=fault.param and pii.redact(fault.param).text,
    )


def webhook_emits(reply: Reply, envelope: Envelope) -> list[Emit]:
    """Return the record that asks for a webhook; nothing where the sender wants none.

    `reply` is as it is stored, so that the webhook says what `GET /v1/requests/{id}` says.
    """
    webhook = envelope.request.webhook
    if webhook is None:
        return []
    due = WebhookDue(request_id=reply.request_id, tenant=envelope.tenant, url=webhook.url, reply=reply)
    return [Emit.to(WEBHOOKS, due, key=reply.request_id)]
