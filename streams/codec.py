"""Encodes and decodes events; nothing else in Headrace does.

Values are JSON. Headers name the event and its schema version (CloudEvents binary mode). A record without
them, e.g. of a plain producer, counts as version 1 of the event that its topic carries.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TypeVar

import msgspec

from streams.errors import UndecodableRecord
from streams.events import Event
from streams.kafka.clients import UNREADABLE
from streams.request_rules.faults import explain

SCHEMA_VERSION = 1
#: Longer schema versions are not parsed.
_VERSION_DIGITS = 9

Headers = Sequence[tuple[str, bytes]]
E = TypeVar("E", bound=Event)

_encoder = msgspec.json.Encoder(decimal_format="string")


@cache
def _decoder(event: type[E]) -> msgspec.json.Decoder[E]:
    return msgspec.json.Decoder(event)


def encode(event: Event) -> bytes:
    """Return the JSON bytes of `event`."""
    return _encoder.encode(event)


def decode(data: bytes | None, event: type[E], headers: Headers = ()) -> E:
    """Return the event in `data`.

    Raises `UndecodableRecord` for no bytes, no JSON, another event or a newer schema version; the message
    says where in the record, and what was expected.
    """
    if data is None:
        unreadable = header_text(headers, UNREADABLE)
        raise UndecodableRecord(unreadable or f"the record has no value; expected {event.__name__} as JSON")
    version = schema_version(headers)
    if version > SCHEMA_VERSION:
        raise UndecodableRecord(
            f"schema version {version} is newer than this reader's {SCHEMA_VERSION}: upgrade Headrace",
            code="unsupported_schema_version",
        )
    try:
        decoder: msgspec.json.Decoder[E] = _decoder(event)
        return decoder.decode(data)
    except msgspec.ValidationError as fault:
        told = explain(fault, data, event)
        raise UndecodableRecord(told.message, code=told.code, param=told.param) from fault
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise UndecodableRecord(f"not valid JSON: {fault}", code="invalid_json") from fault
    except RecursionError as fault:
        raise UndecodableRecord("the JSON is nested too deeply", code="invalid_json") from fault


def event_headers(
    event: Event, *, event_id: str, source: str, at: datetime | None = None, traceparent: str | None = None
) -> list[tuple[str, bytes]]:
    """Return the CloudEvents binary-mode headers of a record."""
    headers = [
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_time", (at or datetime.now(UTC)).isoformat().encode()),
        *_class_headers(type(event)),
    ]
    if traceparent:
        headers.append(("traceparent", traceparent.encode()))
    return headers


@cache
def _class_headers(event: type[Event]) -> tuple[tuple[str, bytes], ...]:
    """Return the headers that all records of an event class share."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_type", f"headrace.{event.__name__}".encode()),
        ("ce_dataschema", f"urn:headrace:{event.__name__}:{SCHEMA_VERSION}".encode()),
        ("content-type", b"application/json"),
    )


def schema_version(headers: Headers) -> int:
    """Return the schema version in the headers: 1 by default, 10**9 for more than nine digits."""
    schema = header(headers, "ce_dataschema")
    if schema is None:
        return SCHEMA_VERSION
    tail = schema.rpartition(b":")[2]
    if not tail.isdigit():
        return SCHEMA_VERSION
    return int(tail) if len(tail) <= _VERSION_DIGITS else 10**_VERSION_DIGITS


def header(headers: Iterable[tuple[str, bytes]], name: str) -> bytes | None:
    """Return the last value of the header `name`, or None."""
    values = [value for key, value in headers if key == name]
    return values[-1] if values else None


def header_text(headers: Iterable[tuple[str, bytes]], name: str) -> str | None:
    """Return the last value of the header `name` as text; None where it is absent or not UTF-8."""
    value = header(headers, name)
    try:
        return value.decode() if value is not None else None
    except UnicodeDecodeError:
        return None
