"""Log records for tests: one builder, and a strategy of arbitrary ones."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from analytics.sink.batches import ConsumedRecord
from streams.codec import encode
from streams.events import LlmCall, Payload, RequestLog, Status, Timing, Usage

#: Noon of yesterday: within every table's retention, and never the day that a test runs into.
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


def make_log(request_id: str = "r-1", **fields: Any) -> RequestLog:
    """Return a log record of an answered request with one call and five stages."""
    at = fields.pop("accepted_at", NOON)
    defaults: dict[str, Any] = {
        "tenant": "acme",
        "user_id": "u-1",
        "tier": "standard",
        "finished_at": at + timedelta(milliseconds=850),
        "status": Status.ANSWERED,
        "latency_ms": 850.25,
        "prompt_template": "support",
        "prompt_version": "3",
        "model": "gpt-4o",
        "provider": "openai",
        "input_tokens": 120,
        "output_tokens": 40,
        "cost_usd": Decimal("0.000700001"),
        "price_version": "2026-11-01",
        "cache_kind": "miss",
        "finish_reason": "stop",
        "timings": tuple(
            make_timing(stage, at + timedelta(milliseconds=place))
            for place, stage in enumerate(("guardrail", "cache", "llm", "output", "cost"))
        ),
        "calls": (make_call(f"{request_id}-c1", at),),
    }
    return RequestLog(request_id=request_id, accepted_at=at, **(defaults | fields))


def make_timing(stage: str, at: datetime = NOON, **fields: Any) -> Timing:
    """Return one execution of a stage."""
    return Timing(
        **({"stage": stage, "started_at": at, "queue_us": 1_500, "work_us": 2_500, "outcome": "ok"} | fields)
    )


def make_call(call_id: str = "c-1", at: datetime = NOON, **fields: Any) -> LlmCall:
    """Return one attempt at a provider."""
    defaults: dict[str, Any] = {
        "attempt": 1,
        "provider": "openai",
        "request_model": "gpt-4o",
        "started_at": at,
        "duration_us": 800_000,
        "usage": Usage(input_tokens=120, output_tokens=40),
        "cost_usd": Decimal("0.0007"),
        "price_version": "2026-11-01",
        "response_model": "gpt-4o-2024-08-06",
        "time_to_first_token_us": 200_000,
        "finish_reason": "stop",
    }
    return LlmCall(call_id=call_id, **(defaults | fields))


def make_record(offset: int, log: RequestLog | bytes | None, *, partition: int = 0) -> ConsumedRecord:
    """Return the Kafka record of a log record, or of bytes that are none."""
    value = encode(log) if isinstance(log, RequestLog) else log
    return ConsumedRecord(
        topic="llm.logs.v1",
        partition=partition,
        offset=offset,
        timestamp_ms=int(NOON.timestamp() * 1000),
        key=f"key-{offset}".encode(),
        value=value,
        headers=(("ce_id", b"e-1"),),
    )


costs = st.decimals(min_value=0, max_value=99, places=9, allow_nan=False, allow_infinity=False)
stages = st.lists(st.sampled_from(("guardrail", "cache", "llm", "output", "cost")), max_size=7)
instants = st.integers(min_value=0, max_value=3 * 86_400_000_000).map(
    lambda micros: NOON - timedelta(days=2) + timedelta(microseconds=micros)
)


@st.composite
def request_logs(draw: st.DrawFn, request_id: str) -> RequestLog:
    """Return an arbitrary log record within three days, some with payloads, retries and repeated stages."""
    at = draw(instants)
    calls = draw(st.integers(min_value=0, max_value=3))
    payloads = st.builds(Payload, request_text=st.text(max_size=9), reply_text=st.just("a"))
    faults = st.none() | st.just("timeout")
    return make_log(
        request_id,
        accepted_at=at,
        tenant=draw(st.sampled_from(("acme", "globex", ""))),
        user_id=draw(st.text(max_size=8)),
        cost_usd=draw(costs),
        error=draw(st.none() | st.text(max_size=8)),
        cache_similarity=draw(st.none() | st.floats(min_value=-1, max_value=1)),
        pii_types=tuple(draw(st.lists(st.sampled_from(("email", "phone")), max_size=2))),
        timings=tuple(make_timing(stage, at, work_us=place) for place, stage in enumerate(draw(stages))),
        calls=tuple(
            make_call(f"{request_id}-c{number}", at, cost_usd=draw(costs), error=draw(faults))
            for number in range(calls)
        ),
        payload=draw(st.none() | payloads),
    )
