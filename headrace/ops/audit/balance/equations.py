"""The equations that a balanced Headrace satisfies, with the sums of both sides."""

from collections.abc import Iterator

from headrace.ops.audit.balance.calls import CallTotals
from headrace.ops.audit.balance.money import MoneyTotals
from headrace.ops.audit.balance.replies import RequestOutcomes
from headrace.ops.audit.evidence.records import usd_text
from headrace.ops.audit.findings import FindingKind as Kind
from headrace.ops.audit.findings import FindingTally
from headrace.ops.audit.report import Equation

#: Each equation, and the findings by which it does not hold, whatever the sums say.
EQUATIONS = {
    "accepted = ended + open": (Kind.MISSING, Kind.STRANGERS),
    "one terminal reply per request": (Kind.CONTRADICTORY_REPLIES, Kind.ANSWERED_TWICE),
    "submissions = submissions answered": (Kind.UNANSWERED_SUBMISSIONS,),
    "malformed = dead letters = senders told": (Kind.MALFORMED_UNBURIED, Kind.MALFORMED_UNTOLD),
    "ledger = replies, one charge per request": (Kind.DUPLICATE_CHARGES, Kind.LEDGER_DIFFERS_FROM_REPLY),
    "ledger = ClickHouse, per request": (Kind.LEDGER_DIFFERS_FROM_CLICKHOUSE, Kind.ROWS_MISSING),
    "one row per request": (Kind.ROWS_MISSING, Kind.ROWS_EXTRA, Kind.ROWS_DIFFER, Kind.UNLOGGED),
    "calls = cost, per request": (Kind.CALLS_DIFFER_FROM_COST,),
    "answered calls booked = invoiced, per call": (
        Kind.CALLS_MISPRICED,
        Kind.CALLS_NOT_INVOICED,
        Kind.CALLS_BILLED_TWICE,
    ),
    "estimated calls booked ≈ invoiced, per call within bounds": (Kind.CALLS_MISESTIMATED,),
    "every billed call is booked, once": (Kind.UNBOOKED_CALLS, Kind.CALLS_BOOKED_TWICE),
}
#: The last ones need an invoice.
_OF_INVOICE = 3


def equations(
    outcomes: RequestOutcomes,
    money: MoneyTotals,
    calls: CallTotals,
    tally: FindingTally,
    *,
    with_invoice: bool,
) -> Iterator[Equation]:
    """Yield the equations, those of the invoice only where there is one."""
    count = tally.count
    replies, submissions, malformed = len(outcomes.terminals), outcomes.submissions, outcomes.malformed
    contradictory = count(Kind.CONTRADICTORY_REPLIES, Kind.ANSWERED_TWICE)
    not_told = max(count(Kind.MALFORMED_UNBURIED), count(Kind.MALFORMED_UNTOLD))
    replied_nano = sum(each.cost_nano for each in outcomes.terminals.values())
    booked_nano = sum(each.booked_nano for each in calls.booked)
    estimated_nano = sum(each.booked_nano for each in calls.estimates)
    invoiced_nano = sum(each.invoiced_nano for each in calls.estimates)
    booked = sum(each.calls for each in calls.booked)
    sides: tuple[tuple[object, object], ...] = (
        (outcomes.accepted, replies + len(outcomes.open)),
        (replies + contradictory, replies),
        (submissions, submissions - count(Kind.UNANSWERED_SUBMISSIONS)),
        (malformed, malformed - not_told),
        (usd_text(money.ledger_nano), usd_text(replied_nano)),
        (usd_text(money.compared_ledger_nano), usd_text(money.compared_clickhouse_nano)),
        (replies - money.rows_waiting, money.rows),
        (usd_text(booked_nano), usd_text(money.clickhouse_nano)),
        (usd_text(calls.exact.booked_nano), usd_text(calls.exact.invoiced_nano)),
        (usd_text(estimated_nano), usd_text(invoiced_nano)),
        (booked + calls.unbooked.calls, booked),
    )
    found = list(zip(EQUATIONS.items(), sides, strict=True))
    for (name, broken_by), (left, right) in found if with_invoice else found[:-_OF_INVOICE]:
        yield Equation(name=name, left=str(left), right=str(right), holds=count(*broken_by) == 0)
