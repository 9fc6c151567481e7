"""The equations that a balanced Headrace satisfies, with the sums of both sides."""

from collections.abc import Iterable

import msgspec

from headrace.ops.audit.balance.calls import Calls
from headrace.ops.audit.balance.money import Money
from headrace.ops.audit.balance.replies import Decided
from headrace.ops.audit.evidence.records import Books, usd_text
from headrace.ops.audit.findings import Code, Tally
from headrace.ops.audit.report import Equation


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found out about the window's requests."""

    books: Books
    decided: Decided
    money: Money
    calls: Calls
    tally: Tally


def equations(account: Account) -> Iterable[Equation]:
    """Return the equations, those of the invoice only where there is one."""
    decided, money, calls, tally = account.decided, account.money, account.calls, account.tally

    def equation(name: str, left: object, right: object, *broken_by: Code) -> Equation:
        return Equation(name=name, left=str(left), right=str(right), holds=tally.count(*broken_by) == 0)

    ended = len(decided.terminals) + len(decided.open)
    yield equation("accepted = ended + open", decided.accepted, ended, Code.MISSING, Code.STRANGERS)
    contradictory = tally.count(Code.CONTRADICTORY, Code.ANSWERED_TWICE)
    yield equation(
        "one terminal reply per request",
        len(decided.terminals) + contradictory,
        len(decided.terminals),
        Code.CONTRADICTORY,
        Code.ANSWERED_TWICE,
    )
    yield equation(
        "submissions = submissions answered",
        decided.submissions,
        decided.submissions - tally.count(Code.UNANSWERED),
        Code.UNANSWERED,
    )
    yield equation(
        "malformed = dead letters = senders told",
        decided.malformed,
        decided.malformed - max(tally.count(Code.UNBURIED), tally.count(Code.UNTOLD)),
        Code.UNBURIED,
        Code.UNTOLD,
    )
    yield equation(
        "ledger = replies, one charge per request",
        usd_text(money.ledger_nano),
        usd_text(sum(each.cost_nano for each in decided.terminals.values())),
        Code.DUPLICATE_CHARGE,
        Code.LEDGER_REPLY,
    )
    yield equation(
        "ledger = ClickHouse, per request",
        usd_text(money.compared_ledger_nano),
        usd_text(money.compared_clickhouse_nano),
        Code.LEDGER_CLICKHOUSE,
        Code.ROW_MISSING,
    )
    yield equation(
        "one row per request",
        len(decided.terminals) - money.rows_waiting,
        money.rows,
        Code.ROW_MISSING,
        Code.ROW_EXTRA,
        Code.ROW_DIFFERS,
        Code.UNLOGGED,
    )
    total = calls.exact.booked_nano + calls.estimated.booked_nano + calls.orphaned.booked_nano
    yield equation(
        "calls = cost, per request", usd_text(total), usd_text(money.clickhouse_nano), Code.CALLS_DIFFER
    )
    if account.books.invoice is not None:
        yield equation(
            "answered calls booked = invoiced, per call",
            usd_text(calls.exact.booked_nano),
            usd_text(calls.exact.invoiced_nano),
            Code.MISPRICED,
            Code.UNINVOICED,
            Code.BILLED_TWICE,
        )
        yield equation(
            "estimated calls booked ≈ invoiced, per call within bounds",
            usd_text(sum(each.booked_nano for each in calls.guessed)),
            usd_text(sum(each.invoiced_nano for each in calls.guessed)),
            Code.MISESTIMATED,
        )
        known = calls.exact.calls + calls.estimated.calls + calls.orphaned.calls
        yield equation(
            "every billed call is booked, once",
            known + calls.unbooked.calls,
            known,
            Code.UNBOOKED,
            Code.CALL_DOUBLED,
        )
