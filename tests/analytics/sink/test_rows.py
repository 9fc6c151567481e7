"""Log records become rows."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from analytics.sink.rows import LLM_CALLS, PAYLOADS, REQUESTS, STAGES, TABLES, RequestRows, Table, rows_of
from streams.errors import UndecodableRecord
from streams.events import Payload, RequestLog, Status
from tests.analytics.logs import NOON, make_call, make_log, make_timing

INGESTED = datetime(2026, 11, 20, 12, tzinfo=UTC)


def of(rows: RequestRows, table: Table) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in dict(rows.rows)[table]]


def micros(at: datetime) -> int:
    return round(at.timestamp()) * 1_000_000 + at.microsecond


def test_every_field_of_the_log_record_is_a_column_of_requests() -> None:
    """A field that is added to the contract cannot be forgotten here."""
    nested = {"timings", "calls", "payload"}
    fields = {field.name for field in msgspec.structs.fields(RequestLog)} - nested
    assert set(REQUESTS.columns) == fields | {"ingested_at"}


def test_every_field_of_a_call_is_a_column_of_llm_calls() -> None:
    """A field that is added to the contract cannot be forgotten here; usage is spread over four columns."""
    fields = {field.name for field in msgspec.structs.fields(type(make_call()))} - {"usage"}
    assert fields <= set(LLM_CALLS.columns)
    assert {"input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"} <= set(LLM_CALLS.columns)


def test_a_full_record_fills_all_tables() -> None:
    """One request, its stages, its call and its texts, all with the request's own time and tenant."""
    log = make_log(payload=Payload(request_text="Hi?", reply_text="Hello."))
    rows = rows_of(log, ingested_at=INGESTED)
    assert rows.day == NOON.date()
    assert [table.name for table, _ in rows.rows] == [table.name for table in TABLES]
    assert [len(table_rows) for _, table_rows in rows.rows] == [1, 1, 5, 1]
    for table in TABLES:
        for row in of(rows, table):
            assert row["request_id"] == "r-1"
            assert row["tenant"] == "acme"
            assert row["accepted_at"] == micros(NOON)
            assert row["ingested_at"] == micros(INGESTED)
    [request] = of(rows, REQUESTS)
    assert request["latency_ms"] == 850.25
    assert request["cost_usd"] == Decimal("0.000700001")
    [call] = of(rows, LLM_CALLS)
    assert (call["call_id"], call["input_tokens"], call["cost_usd"]) == ("r-1-c1", 120, Decimal("0.0007"))
    assert of(rows, PAYLOADS)[0]["reply_text"] == "Hello."


def test_a_record_with_required_fields_only_has_one_row() -> None:
    """A blocked request has no call, no text and no error: every optional may be missing."""
    log = RequestLog(
        request_id="r",
        tenant="t",
        user_id="u",
        tier="",
        accepted_at=NOON,
        finished_at=NOON,
        status=Status.BLOCKED,
        latency_ms=1,
    )
    rows = rows_of(log, ingested_at=INGESTED)
    assert [len(table_rows) for _, table_rows in rows.rows] == [0, 0, 0, 1]
    [request] = of(rows, REQUESTS)
    assert request["error"] is None
    assert request["cache_similarity"] is None
    assert request["cost_usd"] == 0


def test_a_call_without_an_answer_has_empty_names_and_no_first_token() -> None:
    """A call that failed before its first token still is a row, with its fault."""
    call = make_call(
        response_model=None, finish_reason=None, time_to_first_token_us=None, error="timeout", orphaned=True
    )
    [row] = of(rows_of(make_log(calls=(call,)), ingested_at=INGESTED), LLM_CALLS)
    assert (row["response_model"], row["finish_reason"], row["time_to_first_token_us"]) == ("", "", None)
    assert (row["error"], row["orphaned"]) == ("timeout", True)


def test_executions_of_the_same_stage_are_counted() -> None:
    """A stage that ran three times has attempts 1 to 3 in the order in which they happened."""
    timings = tuple(make_timing(stage) for stage in ("llm", "output", "llm", "llm"))
    rows = of(rows_of(make_log(timings=timings), ingested_at=INGESTED), STAGES)
    assert [(row["stage"], row["attempt"]) for row in rows] == [
        ("llm", 1),
        ("output", 1),
        ("llm", 2),
        ("llm", 3),
    ]


def test_a_wait_that_clocks_make_negative_is_none() -> None:
    """Two hosts' clocks differ; the row is worth more than the sign."""
    timing = make_timing("cache", queue_us=-40, work_us=7)
    [row] = of(rows_of(make_log(timings=(timing,)), ingested_at=INGESTED), STAGES)
    assert (row["queue_us"], row["duration_us"]) == (0, 7)


def test_texts_are_left_out_where_they_are_not_to_be_stored() -> None:
    """The setting wins over the record."""
    log = make_log(payload=Payload(request_text="secret", reply_text="secret"))
    assert not of(rows_of(log, ingested_at=INGESTED, store_text=False), PAYLOADS)


@pytest.mark.parametrize(
    ("cost", "stored"),
    [
        ("0.1", "0.100000000"),
        ("0.000000001", "0.000000001"),
        ("999999999.999999999", "999999999.999999999"),
        ("1E-9", "0.000000001"),
        ("12345678.123456789", "12345678.123456789"),
        ("0.0000000015", "0.000000002"),
    ],
)
def test_costs_are_exact_to_the_nano_dollar(cost: str, stored: str) -> None:
    """What the column can hold arrives digit for digit; beyond that it is rounded, not cut."""
    [row] = of(rows_of(make_log(cost_usd=Decimal(cost)), ingested_at=INGESTED), REQUESTS)
    assert f"{row['cost_usd']:f}" == stored


@pytest.mark.parametrize("cost", ["NaN", "sNaN", "Infinity", "-Infinity", "1000000000", "1E+30"])
def test_a_cost_that_is_no_amount_is_refused(cost: str) -> None:
    """Not a number, infinite or above what the column holds: the record goes to the dead letters."""
    with pytest.raises(UndecodableRecord, match="cost_usd"):
        rows_of(make_log(cost_usd=Decimal(cost)), ingested_at=INGESTED)
    with pytest.raises(UndecodableRecord, match=r"calls\.cost_usd"):
        rows_of(make_log(calls=(make_call(cost_usd=Decimal(cost)),)), ingested_at=INGESTED)


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 11, 20, 12),  # noqa: DTZ001 - what is tested
        datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2149, 6, 7, tzinfo=UTC),
        datetime(9999, 12, 31, tzinfo=UTC),
    ],
)
def test_a_time_that_no_partition_can_hold_is_refused(at: datetime) -> None:
    """Without a zone the day is a guess, and beyond `Date` it would wrap around."""
    with pytest.raises(UndecodableRecord, match="accepted_at"):
        rows_of(make_log(accepted_at=at, finished_at=NOON, timings=(), calls=()), ingested_at=INGESTED)


def test_the_day_is_that_of_utc() -> None:
    """A record with another offset belongs to the UTC day of its instant."""
    at = datetime(2026, 11, 20, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    rows = rows_of(make_log(accepted_at=at), ingested_at=INGESTED)
    assert rows.day == date(2026, 11, 19)
    assert of(rows, REQUESTS)[0]["accepted_at"] == micros(datetime(2026, 11, 19, 23, 30, tzinfo=UTC))
