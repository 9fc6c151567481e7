"""Rollups: sums and sketches per hour or day, for questions that raw rows would take seconds to answer.

Which there are, and from what; `analytics.rollups.refresh` keeps them up to date. Each is a view `name` on a
table `rollup_{name}`, and a query `queries/{name}.sql` that computes one day of it.
"""

from importlib.resources import files

import msgspec

from analytics.query_macros import expanded
from analytics.rollups.sources import Source

#: Below the TTLs of the migrations (90 days, 13 months): parts expire with their last row, some hours apart.
#: The users' rollup drops its days at an age of 390 days, when they are not computed any more.
REQUESTS = Source(table="requests_raw", monthly=True, whole_days=389)
STAGES = Source(table="stages_raw", monthly=False, whole_days=88)
CALLS = Source(table="llm_calls_raw", monthly=False, whole_days=88)
SCORES = Source(table="scores_raw", monthly=True, whole_days=389)


class Rollup(msgspec.Struct, frozen=True, kw_only=True):
    """A rollup, by the name of its view."""

    name: str
    source: Source

    @property
    def table(self) -> str:
        """The table that holds it."""
        return f"rollup_{self.name}"

    @property
    def sql(self) -> str:
        """The query that computes one day; parameters `day` and `version`, columns as the table's."""
        return expanded((files("analytics.rollups") / "queries" / f"{self.name}.sql").read_text("utf-8"))


ROLLUPS = (
    Rollup(name="requests_1h", source=REQUESTS),
    Rollup(name="stages_1h", source=STAGES),
    Rollup(name="calls_1h", source=CALLS),
    Rollup(name="cost_1d", source=REQUESTS),
    Rollup(name="users_1d", source=REQUESTS),
    Rollup(name="quality_1d", source=SCORES),
    Rollup(name="latency_1h", source=REQUESTS),
    Rollup(name="stage_latency_1h", source=STAGES),
)
