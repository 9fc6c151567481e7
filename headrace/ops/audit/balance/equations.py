"""The equations that a balanced Headrace satisfies, with the sums of both sides."""

from collections.abc import Iterator

from headrace.ops.audit.balance.calls import CallTotals
from headrace.ops.audit.balance.money import MoneyTotals
from headrace.ops.audit.balance.replies import RequestOutcomes
from headrace.ops.audit.evidence.records import usd_text
from headrace.ops.audit.findings import FindingKind as Kind
from headrace.ops.audit.findings import FindingTally
from headrace.ops.audit.report import Equation


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

    def equation(name: str, left: object, right: object, *broken_by: Kind) -> Equation:
        return Equation(name=name, left=str(left), right=str(right), holds=count(*broken_by) == 0)

    def amounts(name: str, left_nano: int, right_nano: int, *broken_by: Kind) -> Equation:
        return equation(name, usd_text(left_nano), usd_text(right_nano), *broken_by)

    replies, accepted, submissions = len(outcomes.terminals), outcomes.accepted, outcomes.submissions
    ended = replies + len(outcomes.open)
    yield equation("accepted = ended + open", accepted, ended, Kind.MISSING, Kind.STRANGERS)
    twice = (Kind.CONTRADICTORY, Kind.ANSWERED_TWICE)
    yield equation("one terminal reply per request", replies + count(*twice), replies, *twice)
    answered = submissions - count(Kind.UNANSWERED)
    yield equation("submissions = submissions answered", submissions, answered, Kind.UNANSWERED)
    told = outcomes.malformed - max(count(Kind.NOT_DEAD_LETTERED), count(Kind.UNTOLD))
    name, broken_by = "malformed = dead letters = senders told", (Kind.NOT_DEAD_LETTERED, Kind.UNTOLD)
    yield equation(name, outcomes.malformed, told, *broken_by)
    yield amounts(
        "ledger = replies, one charge per request",
        money.ledger_nano,
        sum(each.cost_nano for each in outcomes.terminals.values()),
        *(Kind.DUPLICATE_CHARGE, Kind.LEDGER_REPLY),
    )
    yield amounts(
        "ledger = ClickHouse, per request",
        money.compared_ledger_nano,
        money.compared_clickhouse_nano,
        *(Kind.LEDGER_CLICKHOUSE, Kind.ROW_MISSING),
    )
    yield equation(
        "one row per request",
        replies - money.rows_waiting,
        money.rows,
        *(Kind.ROW_MISSING, Kind.ROW_EXTRA, Kind.ROW_DIFFERS, Kind.UNLOGGED),
    )
    booked_nano = sum(each.booked_nano for each in calls.booked)
    yield amounts("calls = cost, per request", booked_nano, money.clickhouse_nano, Kind.CALLS_DIFFER)
    if not with_invoice:
        return
    yield amounts(
        "answered calls booked = invoiced, per call",
        calls.exact.booked_nano,
        calls.exact.invoiced_nano,
        *(Kind.MISPRICED, Kind.UNINVOICED, Kind.BILLED_TWICE),
    )
    yield amounts(
        "estimated calls booked ≈ invoiced, per call within bounds",
        sum(each.booked_nano for each in calls.estimates),
        sum(each.invoiced_nano for each in calls.estimates),
        Kind.MISESTIMATED,
    )
    known = sum(each.calls for each in calls.booked)
    yield equation(
        "every billed call is booked, once",
        known + calls.unbooked.calls,
        known,
        *(Kind.UNBOOKED, Kind.CALL_DOUBLED),
    )
