"""What the rollups must say, computed in Python from the log records and scores themselves."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from typing import Any

from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from analytics.clickhouse import ClickHouse
from streams.events import LlmCall, RequestLog, Status, Timing
from tests.analytics.logs import request_logs

#: Figures by the values of the key columns.
Figures = dict[tuple[Any, ...], tuple[Any, ...]]
Row = tuple[tuple[Any, ...], Mapping[str, Any]]

#: As many as ClickHouse computes with; Python's default, 28, would round squares of scores.
_DIGITS = 76

SUCCESSFUL = (Status.ANSWERED, Status.CACHED)


class Score(Struct, frozen=True, kw_only=True):
    """A score as it is stored."""

    log: RequestLog
    score_id: str
    scored_at: datetime
    value: Decimal
    name: str = "helpfulness"
    source: str = "judge"
    scorer: str = "gpt-4o"
    label: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """Its columns."""
        log = self.log
        return {
            "request_id": log.request_id,
            "score_id": self.score_id,
            "tenant": log.tenant,
            "user_id": log.user_id,
            "accepted_at": log.accepted_at,
            "scored_at": self.scored_at,
            "name": self.name,
            "value": self.value,
            "label": self.label,
            "source": self.source,
            "scorer": self.scorer,
            "model": log.model,
            "prompt_template": log.prompt_template,
            "prompt_version": log.prompt_version,
            "experiment": log.experiment,
            "arm": log.arm,
            "ingested_at": log.finished_at,
        }


@st.composite
def varied_logs(draw: st.DrawFn, request_id: str) -> RequestLog:
    """Return an arbitrary log record that also varies in what rollups group by."""
    log: RequestLog = draw(request_logs(request_id))
    status = draw(st.sampled_from(Status))
    return replace(
        log,
        status=status,
        model=draw(st.sampled_from(("gpt-4o", "gpt-4o-mini", ""))),
        prompt_version=draw(st.sampled_from(("3", "4"))),
        arm=draw(st.sampled_from(("", "control", "treatment"))),
        cache_hit=status is Status.CACHED,
        fallback=draw(st.booleans()),
        stream=draw(st.booleans()),
        guardrail_input_pass=status is not Status.BLOCKED,
        latency_ms=draw(st.integers(0, 60_000_000)) / 1000,
        input_tokens=draw(st.integers(0, 4_000_000_000)),
    )


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _latency_us(log: RequestLog) -> int:
    return round(log.latency_ms * 1000)


def _tokens(source: Any) -> dict[str, int]:
    names = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
    return {name: getattr(source, name) for name in names}


def _requests_1h(log: RequestLog) -> Row:
    key = (
        *(log.accepted_at.date(), _hour(log.accepted_at), log.tenant, log.status, log.model, log.provider),
        *(log.cache_kind, log.prompt_template, log.prompt_version, log.experiment, log.arm, log.error_code),
        *(log.guardrail_input_rule, log.guardrail_output_rule),
    )
    return key, {
        "requests": 1,
        "cache_hits": int(log.cache_hit),
        "fallbacks": int(log.fallback),
        "streamed": int(log.stream),
        "input_blocked": int(not log.guardrail_input_pass),
        "output_blocked": int(not log.guardrail_output_pass),
        **_tokens(log),
        "cost_usd": log.cost_usd,
        "latency_us": _latency_us(log),
        "latency_ms_max": log.latency_ms,
    }


def _cost_1d(log: RequestLog) -> Row:
    key = (
        *(log.accepted_at.date(), log.tenant, log.tier, log.model, log.provider, log.prompt_template),
        *(log.prompt_version, log.experiment, log.arm, log.price_version),
    )
    successful = log.status in SUCCESSFUL
    return key, {
        "requests": 1,
        "successful": int(successful),
        "errors": int(log.error is not None),
        "cache_hits": int(log.cache_hit),
        "fallbacks": int(log.fallback),
        **_tokens(log),
        "cost_usd": log.cost_usd,
        "successful_cost_usd": log.cost_usd if successful else Decimal(0),
        "cost_usd_max": log.cost_usd,
        "latency_us": _latency_us(log),
    }


def _users_1d(log: RequestLog) -> Row:
    return (log.accepted_at.date(), log.tenant, log.user_id), {
        "requests": 1,
        "successful": int(log.status in SUCCESSFUL),
        "errors": int(log.error is not None),
        "blocked": int(log.status is Status.BLOCKED),
        "cache_hits": int(log.cache_hit),
        "input_tokens": log.input_tokens,
        "output_tokens": log.output_tokens,
        "cost_usd": log.cost_usd,
        "latency_us": _latency_us(log),
        "latency_ms_max": log.latency_ms,
    }


def _stages_1h(log: RequestLog, timing: Timing, attempt: int) -> Row:
    key = (
        log.accepted_at.date(),
        _hour(log.accepted_at),
        timing.stage,
        log.tenant,
        timing.outcome,
        log.model,
    )
    return key, {
        "executions": 1,
        "repeats": int(attempt > 1),
        "queue_us": timing.queue_us,
        "work_us": timing.work_us,
    }


def _latencies_1h(log: RequestLog) -> Iterable[Row]:
    for by, key, detail in (
        ("", "", ""),
        ("model", log.model, ""),
        ("prompt", log.prompt_template, log.prompt_version),
        ("experiment", log.experiment, log.arm),
        ("cache_kind", log.cache_kind, ""),
    ):
        for tenant in {"", log.tenant}:
            yield (
                (log.accepted_at.date(), _hour(log.accepted_at), by, tenant, key, detail),
                {"requests": 1, "latency_us": _latency_us(log)},
            )


def _stage_latencies_1h(rows: Iterable[Row]) -> Iterable[Row]:
    for (day, hour, stage, owner, _outcome, _model), figures in rows:
        for tenant in {"", owner}:
            yield (day, hour, stage, tenant), figures


def _calls_1h(log: RequestLog, call: LlmCall) -> Row:
    first_us = call.time_to_first_token_us
    timed = first_us is not None
    key = (
        *(log.accepted_at.date(), _hour(log.accepted_at), log.tenant, call.provider, call.request_model),
        *(call.response_model or "", call.error or "", call.shadow, call.orphaned),
    )
    return key, {
        "calls": 1,
        "retries": int(call.attempt > 1),
        **_tokens(call.usage),
        "cost_usd": call.cost_usd,
        "duration_us": call.duration_us,
        "first_tokens": int(timed),
        "first_token_us": first_us or 0,
        "generation_us": max(call.duration_us - (first_us or 0), 0) if timed else 0,
        "generation_tokens": call.usage.output_tokens if timed else 0,
    }


def _quality_1d(score: Score) -> Row:
    log = score.log
    key = (
        *(log.accepted_at.date(), log.tenant, score.name, score.source, score.scorer, score.label, log.model),
        *(log.prompt_template, log.prompt_version, log.experiment, log.arm),
    )
    return key, {
        "scores": 1,
        "value_sum": score.value,
        "value_square_sum": score.value * score.value,
        "value_min": score.value,
        "value_max": score.value,
    }


def _grouped(rows: Iterable[Row]) -> Figures:
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for key, figures in rows:
        group = found.setdefault(key, {})
        for name, value in figures.items():
            group[name] = _merge(name)(group[name], value) if name in group else value
    return {key: tuple(figures.values()) for key, figures in found.items()}


def _merge(name: str) -> Callable[[Any, Any], Any]:
    if name.endswith("_max"):
        return max
    return min if name.endswith("_min") else lambda one, other: one + other


def expected(logs: Sequence[RequestLog], scores: Sequence[Score] = ()) -> dict[str, Figures]:
    """Return every rollup: each request once, each score as it was given last."""
    last = {
        (score.log.request_id, score.score_id): score for score in sorted(scores, key=lambda s: s.scored_at)
    }
    with localcontext(prec=_DIGITS):
        return _figures(logs, list(last.values()))


def _figures(logs: Sequence[RequestLog], scores: Sequence[Score]) -> dict[str, Figures]:
    return {
        "requests_1h": _grouped(_requests_1h(log) for log in logs),
        "stages_1h": _grouped(_executions(logs)),
        "calls_1h": _grouped(_calls_1h(log, call) for log in logs for call in log.calls),
        "cost_1d": _grouped(_cost_1d(log) for log in logs),
        "users_1d": _grouped(_users_1d(log) for log in logs),
        "quality_1d": _grouped(_quality_1d(score) for score in scores),
        "latency_1h": _grouped(row for log in logs for row in _latencies_1h(log)),
        "stage_latency_1h": _grouped(_stage_latencies_1h(_executions(logs))),
    }


def _executions(logs: Sequence[RequestLog]) -> Iterable[Row]:
    for log in logs:
        seen: dict[str, int] = {}
        for timing in log.timings:
            seen[timing.stage] = seen.get(timing.stage, 0) + 1
            yield _stages_1h(log, timing, seen[timing.stage])


async def found(clickhouse: ClickHouse) -> dict[str, Figures]:
    """Return what the views of the rollups say, without their sketches."""
    return {name: await _found(clickhouse, name) for name in expected([])}


async def _found(clickhouse: ClickHouse, name: str) -> Figures:
    columns = await clickhouse.query(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String} "
        "ORDER BY position",
        {"table": name},
    )
    exact = [row["name"] for row in columns if not row["type"].startswith("AggregateFunction")]
    exact.remove("computed_at")
    decimals = {row["name"] for row in columns if row["type"].startswith("Decimal")}
    # As text: the client library makes decimals of 28 digits at most, Python's default.
    selected = ", ".join(f"toString({each}) AS {each}" if each in decimals else each for each in exact)
    rows = await clickhouse.query(f"SELECT {selected} FROM {name}")
    keys = exact[: exact.index(_FIRST_FIGURE[name])]
    figures: Figures = {}
    for row in rows:
        key = tuple(_aware(row[column]) for column in keys)
        assert key not in figures, f"{name} has two rows for {key}"
        figures[key] = tuple(
            Decimal(row[column]) if column in decimals else row[column] for column in exact[len(keys) :]
        )
    return figures


def _aware(value: Any) -> Any:
    """Give a time its zone: the client library leaves UTC out."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


_FIRST_FIGURE = {
    "requests_1h": "requests",
    "stages_1h": "executions",
    "calls_1h": "calls",
    "cost_1d": "requests",
    "users_1d": "requests",
    "quality_1d": "scores",
    "latency_1h": "requests",
    "stage_latency_1h": "executions",
}


async def insert_scores(clickhouse: ClickHouse, scores: Sequence[Score], *, token: str) -> None:
    """Store scores."""
    rows = [score.row for score in scores]
    await clickhouse.insert("scores_raw", list(rows[0]), [list(row.values()) for row in rows], token=token)
