"""Requests and scores that are known to the last digit, and what the tests count with them.

The figures that a query must return are computed from these values in Python, in the test.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Context, Decimal
from typing import Any

import msgspec

from agents.cost.settlement_records import total_cost_usd, total_usage
from streams.events import LlmCall, RequestLog, Status, Usage
from streams.model_catalogue import PRICE_VERSION, PRICED_MODELS
from tests.analytics.logs import NOON, make_call, make_log, make_timing

DAYS = 3
#: The window that is asked about: three whole days, the last of them yesterday.
SINCE = NOON.replace(hour=0) - timedelta(days=DAYS - 1)
UNTIL = SINCE + timedelta(days=DAYS)
TENANTS = ("", "acme", "globex")
#: When the rows were stored: all of them, and those from `AGAIN` on once more, in a batch of other bounds.
STORED_AT = UNTIL + timedelta(hours=1)
STORED_AGAIN_AT = UNTIL + timedelta(hours=2)
AGAIN = 20

_MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4-20250514")
_ENDS = {
    "answered": 48,
    "cached": 24,
    "injection": 7,
    "banned": 5,
    "failed": 6,
    "degraded": 4,
    "cancelled": 4,
    "fell_back": 9,
    "shadowed": 9,
}
_OLD_PRICES = "2025-01-01"
_NANO = Decimal("0.000000001")
_WIDE = Context(prec=60)


@dataclass(frozen=True)
class Score:
    """A row of `scores_raw`."""

    score_id: str
    log: RequestLog
    name: str
    value: Decimal
    source: str
    scorer: str
    scored_at: datetime


class _Maker:
    """Makes one request after the other from one seeded source."""

    def __init__(self) -> None:
        self._random = random.Random(20261122)

    def logs(self, count: int) -> list[RequestLog]:
        ends = self._random.choices(list(_ENDS), list(_ENDS.values()), k=count)
        return [self._log(number, end) for number, end in enumerate(ends)]

    def _log(self, number: int, end: str) -> RequestLog:
        dice = self._random
        request_id = f"r-{number:03d}"
        at = SINCE + timedelta(microseconds=dice.randrange(DAYS * 86_400_000_000))
        latency = timedelta(microseconds=dice.randrange(2_000, 9_000_000))
        version = dice.choice(("v1", "v2"))
        common: dict[str, Any] = {
            "accepted_at": at,
            "finished_at": at + latency,
            "latency_ms": latency / timedelta(milliseconds=1),
            "tenant": dice.choice(("acme", "acme", "globex")),
            "user_id": f"u-{dice.randrange(7)}",
            "prompt_template": dice.choice(("general_chat", "code_review")),
            "prompt_version": version,
            "experiment": (experiment := dice.choice(("", "brevity", "tone"))),
            "arm": {"v1": "control", "v2": "treatment"}[version] if experiment else "",
            "pii_types": tuple(dice.sample(("email", "phone", "iban"), k=dice.choice((0, 0, 1, 2)))),
            "timings": tuple(self._timings(at)),
        }
        return _finished(make_log(request_id, **{**common, **getattr(self, f"_{end}")(request_id, at)}))

    def _timings(self, at: datetime) -> Iterable[Any]:
        dice = self._random
        for place, stage in enumerate(
            dice.choice((("guardrail", "cost"), ("guardrail", "cache", "llm", "cost")))
        ):
            yield make_timing(
                stage,
                at + timedelta(milliseconds=place),
                queue_us=dice.randrange(100, 90_000),
                work_us=dice.randrange(100, 5_000_000),
            )

    def _call(self, call_id: str, at: datetime, **fields: Any) -> LlmCall:
        dice = self._random
        model = PRICED_MODELS[fields.pop("model", None) or dice.choice(_MODELS)]
        usage = fields.pop("usage", None)
        if usage is None:
            sent = dice.randrange(20, 3_000)
            cached = dice.randrange(sent)
            kept = dice.randrange(sent - cached) if model.price.cache_write_usd > model.price.input_usd else 0
            usage = Usage(
                input_tokens=sent,
                output_tokens=dice.randrange(1, 900),
                cached_tokens=cached,
                cache_write_tokens=kept,
                cache_write_1h_tokens=kept // 3,
                # whose prices are whole nano-dollars a token: nothing is rounded
                service_tier=dice.choice(("standard", "standard", "priority")),
            )
        duration_us = dice.randrange(300_000, 4_000_000)
        known: dict[str, Any] = {
            "provider": model.provider,
            "request_model": model.name,
            "response_model": f"{model.name}-x",
            "duration_us": duration_us,
            "time_to_first_token_us": dice.choice((None, dice.randrange(100_000, duration_us))),
            "usage": usage,
            "price_version": PRICE_VERSION,
            "cost_usd": model.cost_usd(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cached_tokens=usage.cached_tokens,
                cache_write_tokens=usage.cache_write_tokens,
                cache_write_1h_tokens=usage.cache_write_1h_tokens,
                service_tier=usage.service_tier,
            ),
        }
        if dice.random() < 0.1:  # a call of before the last change of prices
            known |= {"price_version": _OLD_PRICES, "cost_usd": Decimal(dice.randrange(10**9)) * _NANO}
        return make_call(call_id, at + timedelta(milliseconds=dice.randrange(900)), **(known | fields))

    def _answered(self, request_id: str, at: datetime) -> dict[str, Any]:
        call = self._call(f"{request_id}-1", at)
        return {
            "calls": (call,),
            "model": call.request_model,
            "cache_kind": self._random.choice(("miss", "miss", "bypass")),
            "cache_similarity": self._random.choice((None, self._random.uniform(0.3, 0.92))),
            "output_flags": self._random.choice(((), (), ("refusal",), ("truncated", "empty"))),
        }

    def _cached(self, request_id: str, at: datetime) -> dict[str, Any]:
        del request_id, at
        exact = self._random.random() < 0.4
        return {
            "status": Status.CACHED,
            "cache_hit": True,
            "cache_kind": "exact" if exact else "semantic",
            "cache_similarity": None if exact else self._random.uniform(0.92, 1.0),
            "model": self._random.choice(_MODELS),
            "calls": (),
        }

    def _injection(self, request_id: str, at: datetime) -> dict[str, Any]:
        del request_id, at
        rule = self._random.choice(("role_play", "fake_delimiter"))
        return {
            "status": Status.BLOCKED,
            "calls": (),
            "model": "",
            "cache_kind": "",
            "guardrail_input_pass": False,
            "guardrail_input_rule": rule,
            "error": "blocked",
            "error_code": rule,
        }

    def _banned(self, request_id: str, at: datetime) -> dict[str, Any]:
        return self._answered(request_id, at) | {
            "status": Status.BLOCKED,
            "guardrail_output_pass": False,
            "guardrail_output_rule": "banned.sql_drop",
            "error": "blocked",
            "error_code": "banned.sql_drop",
        }

    def _failed(self, request_id: str, at: datetime) -> dict[str, Any]:
        return {
            "status": Status.FAILED,
            "model": "",
            "cache_kind": "miss",
            "calls": (self._fault(f"{request_id}-1", at),),
            "error": "no answer",
            "error_code": self._random.choice(("deadline_exceeded", "context_length_exceeded")),
        }

    def _degraded(self, request_id: str, at: datetime) -> dict[str, Any]:
        calls = tuple(self._fault(f"{request_id}-{number}", at, attempt=number) for number in (1, 2))
        return {
            "status": Status.DEGRADED,
            "model": "degraded",
            "cache_kind": "miss",
            "calls": calls,
            "fallback": True,
            "error": "no model",
            "error_code": "all_models_failed",
        }

    def _cancelled(self, request_id: str, at: datetime) -> dict[str, Any]:
        call = self._call(f"{request_id}-1", at, error="cancelled")
        return {
            "status": Status.CANCELLED,
            "model": "",
            "cache_kind": "miss",
            "calls": (call,),
            "error": "cancelled",
            "error_code": "request_cancelled",
        }

    def _fell_back(self, request_id: str, at: datetime) -> dict[str, Any]:
        answer = self._call(f"{request_id}-2", at, attempt=2, model="claude-sonnet-4-20250514")
        return {
            "calls": (self._fault(f"{request_id}-1", at, model="gpt-4o"), answer),
            "model": answer.request_model,
            "cache_kind": "miss",
            "fallback": True,
        }

    def _shadowed(self, request_id: str, at: datetime) -> dict[str, Any]:
        answered = self._answered(request_id, at)
        shadow = self._call(f"{request_id}-s", at, attempt=2, shadow=True, model="gpt-4o-mini")
        return answered | {"calls": (*answered["calls"], shadow)}

    def _fault(self, call_id: str, at: datetime, **fields: Any) -> LlmCall:
        if self._random.random() < 0.3:  # its answer was lost, and paid for
            return self._call(call_id, at, error="orphaned", orphaned=True, **fields)
        error = self._random.choice(("rate_limited", "timeout"))
        return self._call(call_id, at, error=error, usage=Usage(), time_to_first_token_us=None, **fields)

    def embedded(self, request_id: str, tenant: str) -> RequestLog:
        """A request for embeddings: it names no prompt, and nothing is written."""
        at = SINCE + timedelta(hours=30)
        usage = Usage(input_tokens=self._random.randrange(20, 3_000))
        call = self._call(
            f"{request_id}-1",
            at,
            model="text-embedding-3-small",
            usage=usage,
            time_to_first_token_us=None,
            price_version=PRICE_VERSION,
            cost_usd=PRICED_MODELS["text-embedding-3-small"].cost_usd(
                input_tokens=usage.input_tokens, output_tokens=0
            ),
        )
        latency = timedelta(milliseconds=420)
        return _finished(
            make_log(
                request_id,
                accepted_at=at,
                finished_at=at + latency,
                latency_ms=420.0,
                tenant=tenant,
                prompt_template="",
                prompt_version="",
                cache_kind="",
                model=call.request_model,
                timings=tuple(self._timings(at)),
                calls=(call,),
            )
        )

    def scores(self, logs: Sequence[RequestLog]) -> list[Score]:
        """Scores of a third of the requests: a judge's, a person's, and corrections."""
        dice, found = self._random, []
        for log in dice.sample(list(logs), k=len(logs) // 3):
            for source, scorer in (("judge", "judge-1"), ("human", "support")):
                if dice.random() < 0.7:
                    score = Score(
                        score_id=f"{log.request_id}-{source}",
                        log=log,
                        name=dice.choice(("helpfulness", "helpfulness", "tone")),
                        value=Decimal(dice.randrange(1_000_000_001)) * _NANO,
                        source=source,
                        scorer=scorer,
                        scored_at=log.finished_at + timedelta(hours=dice.randrange(1, 30)),
                    )
                    found.append(score)
        return found


#: Of a request, what has another name than of a call's usage.
_COLUMNS = {"estimated": "usage_estimated"}


def _finished(log: RequestLog) -> RequestLog:
    """Return the log with the sums of its calls, as the cost stage writes them."""
    usage = total_usage(log.calls)
    return msgspec.structs.replace(
        log,
        cost_usd=total_cost_usd(log.calls),
        **{_COLUMNS.get(name, name): getattr(usage, name) for name in usage.__struct_fields__},
    )


_maker = _Maker()
#: Requests in the window, in the order in which they come from Kafka.
LOGS: Sequence[RequestLog] = [
    *_maker.logs(260),
    *(_maker.embedded(f"e-{number}", tenant) for number, tenant in enumerate(("acme", "globex"))),
]
SCORES: Sequence[Score] = _maker.scores(LOGS)
#: The same scores as they were given first; the others are corrections and count.
FIRST_SCORES = [replace(score, value=Decimal(77), scored_at=score.log.finished_at) for score in SCORES[::4]]
_DEAR = {"cost_usd": Decimal(1_000), "calls": ()}
#: One moment outside of the window on either side, and one just within.
OUTSIDE = (
    make_log("too-early", accepted_at=SINCE - timedelta(microseconds=1), **_DEAR),
    make_log("too-late", accepted_at=UNTIL, **_DEAR),
)


def logs_of(tenant: str) -> list[RequestLog]:
    """Return the requests of a tenant in the window; of all tenants where none is named."""
    return [log for log in LOGS if tenant in ("", log.tenant)]


def calls_of(tenant: str) -> list[tuple[RequestLog, LlmCall]]:
    """Return the calls of these requests, each with its request."""
    return [(log, call) for log in logs_of(tenant) for call in log.calls]


def scores_of(tenant: str) -> list[Score]:
    """Return the scores of these requests."""
    return [score for score in SCORES if tenant in ("", score.log.tenant)]


def successful(log: RequestLog) -> bool:
    """Whether a request got an answer of use."""
    return log.status in (Status.ANSWERED, Status.CACHED)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return a sum of money."""
    return sum(amounts, Decimal(0))


def cost(logs: Iterable[RequestLog]) -> Decimal:
    """Return what requests cost."""
    return total(log.cost_usd for log in logs)


def quantile(level: float, values: Iterable[Any]) -> Any:
    """Return the value at this place among the sorted ones, as ClickHouse's `quantileExact` counts places."""
    ordered = sorted(values)
    return ordered[int(level * len(ordered))]


def cut(amount: Decimal, count: int) -> Decimal:
    """Return an amount divided, cut to nine decimals."""
    return _WIDE.divide(amount, Decimal(count)).quantize(_NANO, rounding=ROUND_DOWN)


def mean(values: Iterable[float]) -> float:
    """Return the mean."""
    listed = list(values)
    return sum(listed) / len(listed)


def groups(items: Iterable[Any], key: Any) -> dict[Any, list[Any]]:
    """Return the items by their key."""
    found: dict[Any, list[Any]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found
