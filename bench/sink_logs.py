"""Log records for the sink's benchmarks: seeded, as varied as a pipeline's, and bad ones."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from streams.codec import encode
from streams.events import LlmCall, Payload, RequestLog, Status, Timing, Usage
from streams.pipeline import path
from streams.topics import REQUESTS

STAGES = tuple(spec.name for spec in path(REQUESTS))
TENANTS = ("acme", "globex", "initech", "umbrella")

_MODELS = (
    ("gpt-4o", "openai"),
    ("gpt-4o-mini", "openai"),
    ("claude-sonnet-4-20250514", "anthropic"),
)
_NANO_USD = Decimal("0.000000001")
_MICROSECOND = timedelta(microseconds=1)
_WORDS = (
    "the water turns a wheel and the wheel turns the stone until all of the grain is flour while our miller "
    "looks after his gates so that neither flood nor drought may stop them before evening comes"
).split()


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How the records are made.

    Attributes:
        seed: of everything that is drawn.
        begin: when the first request was accepted.
        span: the time over which the requests were accepted, in the order of their numbers.
        expected: how many requests there will be about, which sets the pace.
        late_share: so many were accepted one to three days earlier than their number says.
        text_share: so many carry the texts of the request and the reply.
    """

    seed: int
    begin: datetime
    span: timedelta
    expected: int
    late_share: float = 0.0
    text_share: float = 1.0


class LogFactory:
    """Makes log records, the same ones for the same shape: five stages, one or two calls.

    Args:
        shape: how.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._chance = random.Random(shape.seed)
        self._run = f"{self._chance.getrandbits(32):08x}"
        self._step = shape.span / shape.expected
        self._made = 0

    def next(self) -> RequestLog:
        """Return the log record of one more request."""
        number, chance = self._made, self._chance
        self._made += 1
        request_id = f"{self._run}-{number:08d}-{chance.getrandbits(48):012x}"
        at = self._shape.begin + number * self._step
        if chance.random() < self._shape.late_share:
            at -= timedelta(days=chance.randint(1, 3))
        at -= at.microsecond * _MICROSECOND - chance.randrange(1_000_000) * _MICROSECOND
        model, provider = chance.choice(_MODELS)
        calls = self._calls(request_id, at, model, provider)
        latency_us = 4_000 + sum(call.duration_us for call in calls)
        return RequestLog(
            request_id=request_id,
            tenant=chance.choice(TENANTS),
            user_id=f"user-{chance.randrange(2_000)}",
            tier="standard",
            session_id=f"{chance.getrandbits(64):016x}",
            accepted_at=at,
            finished_at=at + latency_us * _MICROSECOND,
            status=Status.ANSWERED,
            latency_ms=latency_us / 1000,
            prompt_template="support",
            prompt_version=str(chance.randint(1, 3)),
            model=model,
            provider=provider,
            input_tokens=sum(call.usage.input_tokens for call in calls),
            output_tokens=sum(call.usage.output_tokens for call in calls),
            cost_usd=sum((call.cost_usd for call in calls), Decimal(0)),
            price_version="2026-11-01",
            cache_kind="miss",
            cache_similarity=chance.random(),
            finish_reason="stop",
            fallback=len(calls) > 1,
            timings=self._timings(at),
            calls=calls,
            payload=self._payload(),
        )

    def _timings(self, at: datetime) -> tuple[Timing, ...]:
        chance, found = self._chance, []
        for stage in STAGES:
            queue_us, work_us = chance.randrange(50_000), chance.randrange(3_000)
            at += (queue_us + work_us) * _MICROSECOND
            found.append(Timing(stage=stage, started_at=at, queue_us=queue_us, work_us=work_us, outcome="ok"))
        return tuple(found)

    def _calls(self, request_id: str, at: datetime, model: str, provider: str) -> tuple[LlmCall, ...]:
        attempts = 2 if self._chance.random() < 0.25 else 1
        return tuple(
            self._call(f"{request_id}-{attempt}", attempt, at, model, provider, failed=attempt < attempts)
            for attempt in range(1, attempts + 1)
        )

    def _call(
        self, call_id: str, attempt: int, at: datetime, model: str, provider: str, *, failed: bool
    ) -> LlmCall:
        chance = self._chance
        duration_us = chance.randrange(100_000, 5_000_000)
        usage = Usage(input_tokens=chance.randrange(20, 4_000), output_tokens=chance.randrange(1, 900))
        return LlmCall(
            call_id=call_id,
            attempt=attempt,
            provider=provider,
            request_model=model,
            started_at=at,
            duration_us=duration_us,
            usage=usage,
            cost_usd=(usage.input_tokens * 2_500 + usage.output_tokens * 10_000) * _NANO_USD,
            price_version="2026-11-01",
            response_model=None if failed else model,
            time_to_first_token_us=None if failed else duration_us // 4,
            finish_reason=None if failed else "stop",
            error="timeout" if failed else None,
        )

    def _payload(self) -> Payload | None:
        if self._chance.random() >= self._shape.text_share:
            return None
        return Payload(request_text=self._text(40), reply_text=self._text(120))

    def _text(self, words: int) -> str:
        return " ".join(self._chance.choices(_WORDS, k=words))


def days_before(days: int) -> datetime:
    """Return noon of the day that was so many days ago: runs do not depend on the hour they begin at."""
    return datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=days)


def _replaced(log: RequestLog, **fields: object) -> bytes:
    return encode(msgspec.structs.replace(log, **fields))


#: What is wrong with a bad record: found when it is decoded, laid out, encoded for the insert, or by
#: ClickHouse itself, which refuses the whole insert.
BAD: tuple[Callable[[RequestLog], bytes], ...] = (
    lambda log: encode(log)[:-9],
    lambda _log: b'{"request_id": "no-log"}',
    lambda log: _replaced(log, finished_at=log.finished_at.replace(tzinfo=None)),
    lambda log: _replaced(log, cost_usd=Decimal("NaN")),
    lambda log: _replaced(log, input_tokens=2**32, calls=(), timings=(), payload=None),
    lambda log: _replaced(log, request_id=""),
)
