"""A request's log record as rows of the raw tables. Pure: values in, values out.

Times become integer microseconds here, which is what the columns hold, so that they are converted once
and not once per row and column.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any

import msgspec

from streams.errors import UndecodableRecord
from streams.events import LlmCall, RequestLog, Timing
from streams.times import EPOCH

Row = tuple[Any, ...]


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A raw table and the columns that the sink fills, in the order of its rows."""

    name: str
    columns: tuple[str, ...]


class RequestRows(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All rows of one request. They belong to the day on which it was accepted (UTC)."""

    day: date
    rows: tuple[tuple[Table, tuple[Row, ...]], ...]


_EPOCH_DAY = EPOCH.date()
_DAY_US = 86_400_000_000
_LAST_DAY = 65_535  # 2149-06-06, the last that ClickHouse's `Date` holds

_NANO_USD = Decimal("0.000000001")
_COST_LIMIT_USD = Decimal(1_000_000_000)  # Decimal(18, 9) holds nine digits before the point

_REQUEST_SCALARS = (
    "request_id tenant user_id tier session_id status latency_ms prompt_template prompt_version "
    "experiment arm model provider input_tokens output_tokens cached_tokens reasoning_tokens "
    "cache_write_tokens cache_write_1h_tokens usage_estimated service_tier long_context "
    "price_version cache_hit cache_kind cache_similarity guardrail_input_pass guardrail_input_rule "
    "guardrail_output_pass guardrail_output_rule pii_types output_flags tools_used finish_reason "
    "fallback stream error error_code"
).split()
_CALL_SCALARS = (
    "call_id attempt duration_us time_to_first_token_us provider request_model price_version error "
    "shadow orphaned long_context"
).split()
_PROMPT = ("prompt_template", "prompt_version", "experiment", "arm")
_TOKENS = (
    *("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
    *("cache_write_tokens", "cache_write_1h_tokens"),
)
_USAGE = (*_TOKENS, "usage_estimated", "service_tier")

_request_scalars = attrgetter(*_REQUEST_SCALARS)
_call_scalars = attrgetter(*_CALL_SCALARS)
_prompt = attrgetter(*_PROMPT)
_usage = attrgetter(*_TOKENS, "estimated", "service_tier")

REQUESTS = Table(
    name="requests_raw", columns=(*_REQUEST_SCALARS, "accepted_at", "finished_at", "cost_usd", "ingested_at")
)
STAGES = Table(
    name="stages_raw",
    columns=(
        *("request_id", "tenant", "accepted_at", "model", *_PROMPT, "ingested_at"),
        *("stage", "attempt", "started_at", "queue_us", "duration_us", "outcome"),
    ),
)
LLM_CALLS = Table(
    name="llm_calls_raw",
    columns=(
        *("request_id", "tenant", "user_id", "accepted_at", *_PROMPT, "ingested_at"),
        *(*_CALL_SCALARS, *_USAGE, "started_at", "cost_usd", "response_model", "finish_reason"),
    ),
)
PAYLOADS = Table(
    name="payloads_raw",
    columns=("request_id", "tenant", "user_id", "accepted_at", "ingested_at", "request_text", "reply_text"),
)

#: In the order in which they are written: a request is visible once its details are.
TABLES = (PAYLOADS, LLM_CALLS, STAGES, REQUESTS)


def rows_of(log: RequestLog, *, ingested_at: datetime, store_text: bool = True) -> RequestRows:
    """Return the rows of a request, or raise `UndecodableRecord` for a time or a cost that no column takes.

    Of two rows with the same sort key the one with the later `ingested_at` counts. Texts are kept where the
    record has them and `store_text` allows it.
    """
    accepted_us = _micros(log.accepted_at, "accepted_at")
    ingested_us = _micros(ingested_at, "ingested_at")
    prompt = _prompt(log)
    request = (
        *_request_scalars(log),
        accepted_us,
        _micros(log.finished_at, "finished_at"),
        _nano_usd(log.cost_usd, "cost_usd"),
        ingested_us,
    )
    stage_head = (log.request_id, log.tenant, accepted_us, log.model, *prompt, ingested_us)
    call_head = (log.request_id, log.tenant, log.user_id, accepted_us, *prompt, ingested_us)
    payloads: tuple[Row, ...] = ()
    if store_text and log.payload is not None:
        payload = log.payload
        payloads = (
            (
                *(log.request_id, log.tenant, log.user_id, accepted_us, ingested_us),
                *(payload.request_text, payload.reply_text),
            ),
        )
    return RequestRows(
        day=_EPOCH_DAY + timedelta(days=accepted_us // _DAY_US),
        rows=(
            (PAYLOADS, payloads),
            (LLM_CALLS, tuple(_call_row(call_head, call) for call in log.calls)),
            (STAGES, _stage_rows(stage_head, log.timings)),
            (REQUESTS, (request,)),
        ),
    )


def _stage_rows(head: Row, timings: tuple[Timing, ...]) -> tuple[Row, ...]:
    executions: dict[str, int] = {}
    rows = []
    for timing in timings:
        stage, queue_us, work_us = timing.stage, timing.queue_us, timing.work_us
        attempt = executions[stage] = executions.get(stage, 0) + 1
        rows.append(
            (
                *head,
                stage,
                attempt,
                _micros(timing.started_at, "timings.started_at"),
                # Clocks of two hosts differ: a wait of -3 µs is one of none, not a reason to lose the row.
                max(0, queue_us),
                max(0, work_us),
                timing.outcome,
            )
        )
    return tuple(rows)


def _call_row(head: Row, call: LlmCall) -> Row:
    return (
        *head,
        *_call_scalars(call),
        *_usage(call.usage),
        _micros(call.started_at, "calls.started_at"),
        _nano_usd(call.cost_usd, "calls.cost_usd"),
        call.response_model or "",
        call.finish_reason or "",
    )


def _micros(at: datetime, field: str) -> int:
    if at.tzinfo is None:
        raise UndecodableRecord(f"{field} has no time zone", param=field)
    since = at - EPOCH
    if not 0 <= since.days <= _LAST_DAY:
        raise UndecodableRecord(f"{field} is {at.isoformat()}: not between 1970 and 2149", param=field)
    # A third of the time of a division by a microsecond, eight times a record.
    return since.days * _DAY_US + since.seconds * 1_000_000 + since.microseconds


def _nano_usd(cost: Decimal, field: str) -> Decimal:
    """Round to what the column holds. The client library would cut instead, and let NaN through."""
    if not (cost.is_finite() and -_COST_LIMIT_USD < cost < _COST_LIMIT_USD):
        raise UndecodableRecord(f"{field} is {cost}: not an amount below a billion dollars", param=field)
    return cost.quantize(_NANO_USD)
