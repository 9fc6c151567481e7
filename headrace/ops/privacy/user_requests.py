"""Finds a user's requests on the topics that bring them."""

from datetime import datetime

import msgspec
from aiokafka import ConsumerRecord

from agents.intake.envelopes import DEFAULT_TENANT, accepted_at, request_id_of
from headrace.ops.topic_reader import RECORDS_BEFORE, REQUEST_EVENTS, TopicReader, as_record
from streams.codec import decode
from streams.erasure import Subject
from streams.errors import InputError
from streams.events import Requested
from streams.kafka.record_auth import UNSIGNED


class _RequestOwner(msgspec.Struct, frozen=True):
    """The fields that say whose a request is. Most records are decoded no further."""

    user_id: str
    tenant: str | None = None


_owner = msgspec.json.Decoder(_RequestOwner)


async def requests_of(reader: TopicReader, subject: Subject, *, since_ms: int, until: datetime) -> set[str]:
    """Return the ids of the user's requests.

    Begin with the first record written at `since_ms`; leave out what was accepted after `until`.
    """
    # To the very end: senders' clocks differ, and one that is ahead must not end the search.
    spans = await reader.spans(
        REQUEST_EVENTS, since_ms=since_ms, records_before=RECORDS_BEFORE, missing_ok=True
    )
    ids = {_request_of(record, subject, until) async for record in reader.records(spans)}
    return {request_id for request_id in ids if request_id is not None}


def _request_of(record: ConsumerRecord, subject: Subject, until: datetime) -> str | None:
    try:
        owner = _owner.decode(record.value or b"")
        if Subject(owner.tenant or DEFAULT_TENANT, owner.user_id) != subject:
            return None
        request: Requested = decode(record.value, REQUEST_EVENTS[record.topic], tuple(record.headers))
        read = as_record(record, UNSIGNED)  # also what Headrace did not write: it names the user
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InputError):
        return None  # not a request: it is in a dead letter
    return request_id_of(read, request) if accepted_at(read, request) <= until else None
