"""What the page asks about: windows that cut hours and days, tenants and filters; and the requests meant."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from streams.events import LlmCall, RequestLog, Status
from tests.analytics.reports.queries.known import LOGS, SINCE, UNTIL, Score, cost, cut, groups, scores_of
from tests.analytics.reports.queries.test_latency import within_a_sketch

Logs = list[RequestLog]


@dataclass(frozen=True)
class Case:
    """A window, a tenant and filters, as they are asked for."""

    name: str
    since: datetime = SINCE
    until: datetime = UNTIL
    tenant: str = ""
    filters: dict[str, str] = field(default_factory=dict)

    @property
    def window(self) -> dict[str, Any]:
        """The parameters that every query has."""
        return {"since": self.since, "until": self.until, "tenant": self.tenant}

    @property
    def given(self) -> dict[str, Any]:
        """These and the filters."""
        return {**self.window, **self.filters}

    def within(self, log: RequestLog) -> bool:
        """Whether a request is the tenant's and in the window."""
        return self.tenant in ("", log.tenant) and self.since <= log.accepted_at < self.until

    @property
    def logs(self) -> Logs:
        """The requests that are meant."""
        return [log for log in LOGS if self.within(log) and self._fits(log)]

    @property
    def calls(self) -> list[LlmCall]:
        """The calls of all requests of the window, whatever the filters."""
        return [call for log in LOGS if self.within(log) for call in log.calls]

    @property
    def scores(self) -> list[Score]:
        """The scores of the requests that are meant."""
        return [score for score in scores_of("") if self.within(score.log) and self._fits(score.log)]

    def _fits(self, log: RequestLog) -> bool:
        return all(getattr(log, name) == value for name, value in self.filters.items())


def _cut(name: str, *, tenant: str = "", filters: dict[str, str] | None = None) -> Case:
    """A case whose window begins and ends within an hour, and within a day."""
    since, until = SINCE + timedelta(hours=5, minutes=17, seconds=3.5), UNTIL - timedelta(hours=7.7)
    return Case(name, since=since, until=until, tenant=tenant, filters=filters or {})


_ONE = LOGS[17]
CASES = [
    Case("everything"),
    Case("of a tenant", tenant="acme"),
    _cut("cut"),
    _cut("cut, of a tenant", tenant="globex"),
    _cut("of a model", filters={"model": "gpt-4o"}),
    _cut("of a version", filters={"prompt_template": "code_review", "prompt_version": "v2"}),
    _cut("of an experiment", filters={"experiment": "brevity"}),
    _cut("of several", filters={"experiment": "tone", "model": "gpt-4o-mini", "prompt_version": "v1"}),
    Case("six hours", since=SINCE + timedelta(hours=4.4), until=SINCE + timedelta(hours=10.4)),
    Case("a little more", since=SINCE + timedelta(hours=4.4), until=SINCE + timedelta(hours=10.41)),
    Case("whole hours", since=SINCE + timedelta(hours=20), until=SINCE + timedelta(hours=28)),
    Case("one request", since=_ONE.accepted_at, until=_ONE.accepted_at + timedelta(microseconds=1)),
]
#: Enough where a query is asked once for each of its other values too.
FEW_CASES = [CASES[0], CASES[3], CASES[7], CASES[8]]
SHORT = CASES[8]

each_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
few_cases = pytest.mark.parametrize("case", FEW_CASES, ids=[case.name for case in FEW_CASES])

#: By what spend can be asked for, and the key and the detail of a request.
KEYS: dict[str, Callable[[RequestLog], tuple[str, str]]] = {
    "model": lambda log: (log.model, log.provider),
    "tenant": lambda log: (log.tenant, ""),
    "provider": lambda log: (log.provider, ""),
    "prompt": lambda log: (log.prompt_template, log.prompt_version),
    "experiment": lambda log: (log.experiment, log.arm),
    "day": lambda log: (str(log.accepted_at.date()), ""),
}


def count(logs: Iterable[RequestLog], *ends: Status) -> int:
    """Return how many requests ended so."""
    return sum(log.status in ends for log in logs)


def latencies(logs: Logs, *levels: int) -> dict[str, Any]:
    """Return columns of percentiles, which equal what is within 1 % of them."""
    times = [log.latency_ms * 1000 for log in logs]
    return {f"p{level}_latency_ms": within_a_sketch(level / 100, times) for level in levels}  # type: ignore[arg-type]


def saved(logs: Logs, hits: Callable[[RequestLog], bool] = lambda log: log.cache_hit) -> Decimal | None:
    """Return what hits save at what an answered miss of the same tenant and prompt version costs."""
    amounts = []
    for group in groups(logs, lambda log: (log.tenant, log.prompt_template, log.prompt_version)).values():
        misses = [log for log in group if log.cache_kind == "miss" and log.status is Status.ANSWERED]
        if misses:
            amounts.append(cut(sum(map(hits, group)) * cost(misses), len(misses)))
    return sum(amounts, Decimal(0)) if amounts else None


def share(part: int, whole: int) -> Any:
    """Return what compares equal to a part of a whole; None where there is no whole."""
    return pytest.approx(part / whole) if whole else None
