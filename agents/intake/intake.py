"""Admits a request, for chat or embeddings: checks it, finds its reply address, registers it in Redis.

A request that the registry knows already is not admitted: its sender gets the stored reply or an error, or
waits for the running request.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime

import msgspec

from agents.intake.envelopes import (
    MAX_REQUEST_ID_CHARS,
    as_chat,
    as_request_id,
    key_text,
    open_envelope,
    request_without_texts,
    submission_origin,
    with_sane_time,
)
from agents.intake.replies import (
    MAX_CORRELATION_ID_BYTES,
    allowed_reply_address,
    own_reply_address,
    reply_address,
    reply_emit,
)
from agents.stage import Record
from streams.codec import header, header_text
from streams.errors import InputError, InvalidRequest, UnauthenticRecord
from streams.events import Envelope, ErrorInfo, Reply, ReplyAddress, Requested, Status
from streams.publisher import Emit
from streams.registry.registry import (
    TOO_MANY_REPEATS,
    Registration,
    RequestRegistry,
    SubmissionState,
    fingerprint,
)
from streams.request_rules.chat import check_depth, check_ids, check_moment
from streams.request_rules.sent_requests import check_fields
from streams.topics import MAX_HEADER_BYTES, MAX_HEADERS

#: The headers of a request that are read as text.
_TEXT_HEADERS = ("ce_id", "kafka_replyTopic", "traceparent")


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """A registered request that the stage has to process."""

    envelope: Envelope
    cancelled: str | None = None  # the reason, if the request was cancelled before
    #: Why headers, ids or times were refused. Where it is the reply topic, the reply goes to Headrace's own.
    refusal: InputError | None = None


@dataclass(eq=False)
class Intake:
    """Registers the requests that a topic brings.

    `has_topic` tells whether a topic, and its partition where one is named, exists; `reply_topics` are names
    or patterns of the topics that senders may name for their replies.
    """

    registry: RequestRegistry
    _: KW_ONLY
    has_topic: Callable[[str, int | None], Awaitable[bool]]
    reply_topics: Sequence[str]
    default_deadline_ms: int
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def admit(self, record: Record, request: Requested) -> Admitted | Sequence[Emit]:
        """Return the request in its envelope; or, of one that was seen before, what its sender gets.

        Raises:
            StoreUnavailable: the registry does not answer.
            UnauthenticRecord: it has the id and the correlation id of a request with another body. Who sent
                that waits for its reply under both, and must not get this one's.
            KafkaUnavailable: no broker says whether the reply topic exists.
        """
        fault: InputError | None = None
        now = self.clock()
        try:
            check_entrance(record, request, now=now)
        except InputError as found:
            fault, request = found, request_without_texts(as_chat(request))
            request = msgspec.structs.replace(request, accepted_at=None)  # it may be what is wrong
            record = with_sane_time(record, now=now)
        reply_to, refusal = await self._reply_address(record)
        envelope = open_envelope(
            record, request, reply_to=reply_to, default_deadline_ms=self.default_deadline_ms
        )
        registration = await self.registry.register(
            envelope.request_id,
            tenant=envelope.tenant,
            body=fingerprint(request, envelope.tenant),
            origin=submission_origin(record, reply_to),
            running=True,
            reply_to=reply_to,
            replay=envelope.replay,
        )
        if registration.state is SubmissionState.IMPOSTER:
            raise UnauthenticRecord(
                f"request {envelope.request_id[:128]!r} came with this correlation id before, in other words"
            )
        if registration.state not in (SubmissionState.NEW, SubmissionState.SAME):
            return _answer_repeat(envelope, registration)
        return Admitted(envelope=envelope, cancelled=registration.cancelled, refusal=fault or refusal)

    def open(self, record: Record, request: Requested) -> Envelope:
        """Return the envelope that `admit` would return, without asking anybody about it."""
        reply_to = allowed_reply_address(record, self.reply_topics)
        return open_envelope(record, request, reply_to=reply_to, default_deadline_ms=self.default_deadline_ms)

    async def _reply_address(self, record: Record) -> tuple[ReplyAddress, InputError | None]:
        """Return where the reply goes, and why the sender's own choice was refused if it was."""
        try:
            wanted = reply_address(record, self.reply_topics)
        except InputError as fault:
            return own_reply_address(record), fault
        if await self.has_topic(wanted.topic, wanted.partition):
            return wanted, None
        where = wanted.topic if wanted.partition is None else f"{wanted.topic}-{wanted.partition}"
        missing = InvalidRequest(
            f"the reply topic {where} does not exist; create it first",
            code="reply_topic_not_found",
            param="kafka_replyTopic",
        )
        return own_reply_address(record), missing


def _answer_repeat(envelope: Envelope, registration: Registration) -> Sequence[Emit]:
    """Return what a request gets whose id was seen before: nothing new is done for it."""
    request_id, reply_to = envelope.request_id, envelope.reply_to
    if registration.state is SubmissionState.SETTLED and registration.reply is not None:
        repeat = msgspec.structs.replace(registration.reply, repeat=True)
        return (reply_emit(repeat, reply_to),)
    if registration.state is SubmissionState.CONFLICT:
        refusal = conflict_error(request_id)
    elif registration.state is SubmissionState.CROWDED:
        refusal = ErrorInfo(
            type="rate_limit_error",
            code=TOO_MANY_REPEATS,
            message=f"request {request_id!r} runs, and nobody else can wait for its reply: ask again later",
            param="request_id",
        )
    else:
        return ()  # joined the one that runs, or this very submission is done
    refused = Reply(request_id=request_id, status=Status.FAILED, error=refusal, replay=envelope.replay)
    return (reply_emit(refused, reply_to),)


def conflict_error(request_id: str) -> ErrorInfo:
    """Return the error for an id that was used before with another body."""
    return ErrorInfo(
        type="invalid_request_error",
        code="idempotency_conflict",
        message=f"request id {request_id!r} was already used with a different body; use a new id",
        param="request_id",
    )


def check_entrance(record: Record, request: Requested, *, now: datetime) -> None:
    """Check what a sender wrote around a request, before anything of it is kept.

    Raises:
        InvalidRequest: headers, ids, times or nesting out of bounds, headers that are no UTF-8, or unknown
            fields; `param` names the header or field.
    """
    check_moment(record.written_at, "timestamp", now=now)
    if request.accepted_at is not None:
        check_moment(request.accepted_at, "accepted_at", now=now)
    _check_headers(record)
    if request.request_id is None:
        _check_id(header_text(record.headers, "ce_id"), "ce_id")
        _check_id(key_text(record.key), "key")
    check_depth(request)
    check_ids(request)
    check_fields(record.value or b"", request)


def _check_headers(record: Record) -> None:
    for name in _TEXT_HEADERS:
        if header(record.headers, name) is not None and header_text(record.headers, name) is None:
            raise InvalidRequest(f"{name} must be UTF-8", code="invalid_header", param=name)
    size = sum(len(name) + len(value) for name, value in record.headers)
    if len(record.headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise InvalidRequest(
            f"the record has {len(record.headers)} headers of {size} bytes together; at most {MAX_HEADERS} "
            f"of {MAX_HEADER_BYTES} are allowed",
            code="headers_too_large",
            param="headers",
        )
    correlation_id = header(record.headers, "kafka_correlationId") or b""
    if len(correlation_id) > MAX_CORRELATION_ID_BYTES:
        raise InvalidRequest(
            f"kafka_correlationId has {len(correlation_id)} bytes; at most {MAX_CORRELATION_ID_BYTES} are "
            "allowed. The reply goes without one",
            code="correlation_id_too_long",
            param="kafka_correlationId",
        )


def _check_id(text: str | None, where: str) -> None:
    if text and as_request_id(text) is None:
        raise InvalidRequest(
            f"the {where} names the request, and must have at most {MAX_REQUEST_ID_CHARS} characters that "
            "can be printed; or give a request_id in the body",
            code="invalid_request_id",
            param=where,
        )
