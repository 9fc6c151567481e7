"""From a record to an envelope."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from agents.intake.envelopes import open_envelope, recovered_envelope
from streams.codec import encode
from streams.events import MAX_DEADLINE_MS, ReplyAddress, RequestGuarded
from tests.agents.cost.calls import llm_call
from tests.fakes.envelopes import NOW, chat, envelope, record

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_trace_context_of_any_other_shape_is_left_out() -> None:
    """It would travel on in the headers of every record."""
    given = record(chat(), key=b"r-1", headers=[("traceparent", b"x" * 10_000)])
    made = open_envelope(given, chat(), reply_to=ReplyAddress(topic="t"), default_deadline_ms=1)
    assert made.traceparent is None


def test_an_internal_event_that_does_not_decode_still_says_whose_it_is() -> None:
    """And what was spent on it: its sender is told, and the spend is booked."""
    spent = envelope(calls=(llm_call(),), reply_to=ReplyAddress(topic="orders.replies", correlation_id=b"c"))
    broken = msgspec.json.decode(encode(RequestGuarded(envelope=spent)))
    broken["envelope"]["request"] = {"user_id": 5}
    found = recovered_envelope(msgspec.json.encode(broken))
    assert found is not None
    assert (found.request_id, found.tenant, found.reply_to) == (
        spent.request_id,
        spent.tenant,
        spent.reply_to,
    )
    assert found.calls == spent.calls
    broken["envelope"]["calls"] = [{"call_id": 1}]
    found = recovered_envelope(msgspec.json.encode(broken))
    assert found is not None
    assert found.calls == ()
    assert recovered_envelope(b'{"envelope": {}}') is None
    assert recovered_envelope(None) is None


def test_an_envelope_of_a_bare_request() -> None:
    """Defaults for whose it is; the record's time as the time it was accepted."""
    given = record(chat(), key=b"r-1", headers=[("traceparent", TRACEPARENT.encode())])
    made = open_envelope(given, chat(), reply_to=ReplyAddress(topic="t"), default_deadline_ms=60_000)
    assert (made.request_id, made.tenant, made.tier, made.traceparent) == (
        "r-1",
        "default",
        "standard",
        TRACEPARENT,
    )
    assert (made.accepted_at, made.deadline_at) == (NOW, NOW + timedelta(seconds=60))


@pytest.mark.parametrize(
    ("accepted_at", "taken"),
    [
        (NOW - timedelta(seconds=2), NOW - timedelta(seconds=2)),
        (NOW + timedelta(days=1), NOW),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), NOW),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_request_is_accepted_before_its_record_is_written(accepted_at: datetime, taken: datetime) -> None:
    """A sender cannot put its deadline off by dating its request into the future, nor upset the calendar."""
    request = chat(accepted_at=accepted_at, deadline_ms=5_000)
    made = open_envelope(
        record(request), request, reply_to=ReplyAddress(topic="t"), default_deadline_ms=60_000
    )
    assert (made.accepted_at, made.deadline_at) == (taken, taken + timedelta(seconds=5))


@pytest.mark.parametrize("timestamp_ms", [-1, 2**62, -(2**62)])
def test_a_timestamp_that_is_no_date_is_survived(timestamp_ms: int) -> None:
    """Producers choose them; the request is late, and no stage stops."""
    given = msgspec.structs.replace(record(chat()), timestamp_ms=timestamp_ms)
    made = open_envelope(given, chat(), reply_to=ReplyAddress(topic="t"), default_deadline_ms=60_000)
    assert made.deadline_at.year <= 1970


@pytest.mark.parametrize("timestamp_ms", [253_402_300_799_999, 2**62, -1])
def test_no_date_of_a_record_makes_a_deadline_overflow(timestamp_ms: int) -> None:
    """The end of the calendar, and what lies beyond."""
    request = chat(deadline_ms=MAX_DEADLINE_MS)
    given = msgspec.structs.replace(record(request), timestamp_ms=timestamp_ms)
    made = open_envelope(given, request, reply_to=ReplyAddress(topic="t"), default_deadline_ms=1)
    assert made.deadline_at.year == 1970
