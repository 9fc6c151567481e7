"""The report of an audit: figures, equations, findings, and what was read when."""

from enum import StrEnum

import msgspec


class AuditVerdict(StrEnum):
    """What an audit comes to."""

    BALANCED = "balanced"
    OPEN = "open"  # nothing is wrong so far, but something is still under way
    UNBALANCED = "unbalanced"


class Equation(msgspec.Struct, frozen=True, kw_only=True):
    """Two sides that must be equal. `holds` may be stricter than the sums: it is checked per request."""

    name: str
    left: str
    right: str
    holds: bool


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something an operator should know.

    `code` is stable, for scripts. `ids` are the first of the requests, calls or records.
    """

    code: str
    title: str
    count: int
    breaks: bool
    ids: tuple[str, ...]
    advice: str


class SourceState(msgspec.Struct, frozen=True, kw_only=True):
    """How fresh what was read is, in words."""

    name: str
    state: str


class AuditFigures(msgspec.Struct, kw_only=True):
    """The numbers. Requests unless the name says otherwise; money in dollars, as text, nine decimals.

    `accepted` is the sum of the six states, `open` and `missing`. `dead_lettered` requests are among them;
    `malformed` records are not. `invoice_usd` and what follows from it are None without an invoice.
    `estimates_over_usd` and `estimates_under_usd`: by how much orphaned, failed and otherwise estimated calls
    are booked above and below what was billed, each summed over its calls; `estimates_not_invoiced` of them
    are booked with an amount and not billed.
    """

    accepted: int
    answered: int
    cached: int
    degraded: int
    blocked: int
    failed: int
    cancelled: int
    open: int
    missing: int
    malformed: int
    dead_lettered: int
    submissions: int
    conflicts: int
    contradictory_replies: int
    resent_replies: int
    unanswered_submissions: int
    duplicate_charges: int
    resent_charges: int
    ledger_usd: str
    clickhouse_usd: str
    rows_missing: int
    rows_extra: int
    rows_waiting: int
    calls: int
    orphaned_calls: int
    orphaned_booked_usd: str
    failed_calls: int
    failed_booked_usd: str
    retries_waiting: int
    invoice_usd: str | None = None
    orphaned_invoiced_usd: str | None = None
    failed_invoiced_usd: str | None = None
    estimates_over_usd: str | None = None
    estimates_under_usd: str | None = None
    estimates_not_invoiced: int | None = None
    unbooked_calls: int | None = None
    unbooked_usd: str | None = None


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `headrace audit` prints. Times are RFC 3339, UTC. `waiting`: how much is still under way."""

    verdict: AuditVerdict
    since: str
    until: str
    took_s: float
    figures: AuditFigures
    equations: tuple[Equation, ...]
    findings: tuple[Finding, ...]
    parts: tuple[SourceState, ...]
    waiting: int = 0
