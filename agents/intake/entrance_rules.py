"""Checks what surrounds the body of a sender's record: its headers, ids, times and nesting."""

from datetime import datetime

from agents.intake.delivery_identity import MAX_REQUEST_ID_CHARS, as_request_id, key_text
from agents.intake.reply_address import MAX_CORRELATION_ID_BYTES
from agents.stage import Record
from streams.codec import header, header_text
from streams.errors import InvalidRequest
from streams.events import Requested
from streams.kafka.record_sizes import MAX_HEADER_BYTES, MAX_HEADERS
from streams.request_rules.chat import check_depth, check_ids, check_moment
from streams.request_rules.sent_requests import check_fields

#: The headers of a request that are read as text.
_TEXT_HEADERS = ("ce_id", "kafka_replyTopic", "traceparent")


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
