"""A dead letter as an operator sees it. Its headers are checked, because anybody may write headers."""

import re
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Self

import msgspec

from agents.intake.envelopes import DEFAULT_TENANT, request_id_of
from agents.stage import Record, instant
from headrace.ops.topic_reader import REQUEST_EVENTS
from streams.codec import header
from streams.errors import InputError
from streams.events import DeadLetterAction, Requested
from streams.redelivery import ERROR_PREFIX as _ERRORS
from streams.redelivery import FIRST_DELIVERY, Headers, redelivery
from streams.topics import RETRIES

_LETTER_ID = re.compile(r"(\d{1,9}):(\d{1,18})", re.ASCII)
_NUMBER = re.compile(r"\d{1,15}", re.ASCII)
#: What is kept of a header in a list: a topic name is at most 249 characters long, an exception's name less.
_MAX_NAME_CHARS = 256
_MAX_MESSAGE_CHARS = 2_000
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class LetterId(msgspec.Struct, frozen=True, order=True):
    """The id of a dead letter: where it lies on its topic, written ``partition:offset``."""

    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the id that `text` names. Raises `InputError`: it is not ``partition:offset``."""
        found = _LETTER_ID.fullmatch(text)
        if found is None:
            raise InputError(f"{text!r} is no id of a dead letter: they look like 2:41 (partition:offset)")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


class LetterSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a list shows of a dead letter. Its size is bounded, whatever the record holds.

    `topic` is where it died, and where a replay goes; where it died on the retry topic, where it came from.
    """

    letter_id: LetterId
    written_ms: int  # when it died, Unix ms
    stage: str = ""
    exception: str = ""
    message: str = ""
    topic: str | None = None
    record: str | None = None  # `topic:partition:offset` of the first record: a replay stands for it
    record_ms: int | None = None
    replay: int = 0  # how often it had been replayed when it died
    request_id: str | None = None  # as its sender was told
    tenant: str | None = None
    key_bytes: int = 0
    value_bytes: int | None = None

    @property
    def died_at(self) -> datetime:
        """When it died."""
        return instant(self.written_ms)


class LetterStatus(StrEnum):
    """What became of a dead letter."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class LetterState(msgspec.Struct, frozen=True):
    """The status of a dead letter, and how often it was replayed. The last action decides the status."""

    status: LetterStatus = LetterStatus.OPEN
    replays: int = 0


class LetterStates:
    """The states of the `wanted` dead letters, from the actions in the order in which they were recorded."""

    def __init__(self, wanted: Callable[[LetterId], bool] = lambda _: True) -> None:
        self._wanted = wanted
        self._known: dict[LetterId, LetterState] = {}

    def add(self, action: DeadLetterAction) -> None:
        """Apply an action. One that names no dead letter is ignored."""
        try:
            letter_id = LetterId.parse(action.dead_letter)
        except InputError:
            return
        if self._wanted(letter_id):
            replays = self.of(letter_id).replays + (action.action == "replayed")
            self._known[letter_id] = LetterState(LetterStatus(action.action), replays)

    def of(self, letter_id: LetterId) -> LetterState:
        """Return the state of a letter."""
        return self._known.get(letter_id, LetterState())


class _TenantFields(msgspec.Struct):
    tenant: object = None
    envelope: object = None


_tenant_fields = msgspec.json.Decoder(_TenantFields)


def summary_of(dead: Record) -> LetterSummary:
    """Return what is known of a dead letter. What its headers do not say, or say wrongly, stays empty."""
    origin = redelivery(dead.headers)
    died_on = _text(dead.headers, "topic", _MAX_NAME_CHARS) or None
    died_ms = _number(dead.headers, "timestamp")
    # The retry topic holds copies: they go back to where they came from.
    topic = origin.topic if died_on == RETRIES.name else died_on
    written_ms = dead.timestamp_ms if died_ms is None else died_ms
    believed = origin.believed_of(topic=topic or "", timestamp_ms=written_ms)
    record = believed.record or _address(dead.headers, died_on)
    return LetterSummary(
        letter_id=LetterId(dead.partition, dead.offset),
        written_ms=dead.timestamp_ms,
        stage=_text(dead.headers, "stage", _MAX_NAME_CHARS),
        exception=_text(dead.headers, "exception", _MAX_NAME_CHARS),
        message=_text(dead.headers, "message", _MAX_MESSAGE_CHARS),
        topic=topic,
        record=record,
        record_ms=died_ms if believed.timestamp_ms is None else believed.timestamp_ms,
        replay=believed.replay,
        request_id=_request_id(dead, record),
        tenant=_tenant(dead.value),
        key_bytes=len(dead.key or b""),
        value_bytes=None if dead.value is None else len(dead.value),
    )


def _address(headers: Headers, topic: str | None) -> str | None:
    partition, offset = _number(headers, "partition"), _number(headers, "offset")
    known = topic is not None and partition is not None and offset is not None
    return f"{topic}:{partition}:{offset}" if known else None


def _text(headers: Headers, name: str, limit: int) -> str:
    value = header(headers, _ERRORS + name)
    # Four bytes hold any character: no more than that is looked at.
    return (value or b"")[: 4 * limit].decode("utf-8", "replace")[:limit]


def _number(headers: Headers, name: str) -> int | None:
    text = _text(headers, name, 16)
    return int(text) if _NUMBER.fullmatch(text) else None


def _request_id(dead: Record, record_address: str | None) -> str | None:
    """Return the request's id by the rules of the stages: the sender knows the request by it."""
    topic, partition, offset = (record_address or "?:0:0").rsplit(":", 2)
    # Whoever waits for a reply is told the record's address, where that is known.
    headers = dead.headers if record_address else tuple(each for each in dead.headers if each[0] == "ce_id")
    record = msgspec.structs.replace(
        dead,
        topic=topic,
        partition=int(partition),
        offset=int(offset),
        headers=headers,
        again=FIRST_DELIVERY,
    )
    # A request that names no id has its address for one.
    named = request_id_of(record, _request(topic, dead.value))
    return named and named[:_MAX_NAME_CHARS]


def _request(topic: str, value: bytes | None) -> Requested | None:
    event = REQUEST_EVENTS.get(topic)
    try:
        request: Requested | None = msgspec.json.decode(value or b"", type=event) if event else None
    except _UNREADABLE:
        return None
    return request


def _tenant(value: bytes | None) -> str | None:
    try:
        body = _tenant_fields.decode(value or b"")
    except _UNREADABLE:
        return None
    named = body.envelope.get("tenant") if isinstance(body.envelope, dict) else body.tenant
    if named is None:
        return DEFAULT_TENANT
    return named[:_MAX_NAME_CHARS] if isinstance(named, str) else None
