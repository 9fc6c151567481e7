"""Replies against the ledger, the log records and ClickHouse: one charge, one row, one amount per request."""

import msgspec

from headrace.ops.audit.balance.replies import Decided
from headrace.ops.audit.evidence.records import Books, Charge, Row, Terminal
from headrace.ops.audit.findings import Code, Tally
from headrace.ops.audit.progress import Progress
from streams.request_rules.feedback import STAGE as FEEDBACK


class Money(msgspec.Struct, kw_only=True):
    """What the books of the window's requests come to.

    Requests whose row is still on its way are in `rows_waiting`, and in neither `compared` sum.
    """

    ledger_nano: int = 0
    clickhouse_nano: int = 0
    compared_ledger_nano: int = 0
    compared_clickhouse_nano: int = 0
    resent_charges: int = 0
    rows: int = 0
    rows_waiting: int = 0
    whole: set[str] = set()


def weigh(books: Books, decided: Decided, progress: Progress, tally: Tally) -> Money:
    """Compare every decided request's reply, charge, log record and row, and note what differs.

    Returns:
        The sums; `whole` are the requests whose rows are all there.
    """
    money = Money()
    buried = _buried(books)
    for request_id, terminal in decided.terminals.items():
        charges = books.kafka.charges.get(request_id, [])
        charged_nano = _check_charges(money, tally, request_id, charges)
        money.ledger_nano += charged_nano
        if terminal.accepted_at_ms is None:
            continue  # it failed in the cost stage, or before anybody understood it: it has no log record
        row, log = books.clickhouse.rows.get(request_id), books.kafka.logs.get(request_id)
        if row is not None:
            money.rows += 1
            money.clickhouse_nano += row.cost_nano
        settled = progress.has_settled(terminal.at_ms)
        if log is None and not settled:
            money.rows_waiting += 1
            tally.add(Code.WAITING, request_id)
            continue
        if log is None:
            tally.add(Code.UNLOGGED, request_id)
        if charged_nano != terminal.cost_nano:
            tally.add(Code.LEDGER_REPLY if settled else Code.WAITING, request_id)
        if log is not None and not progress.has_row(log):
            money.rows_waiting += 1
            tally.add(Code.WAITING, request_id)
            continue
        money.compared_ledger_nano += charged_nano
        if row is None:
            tally.add(Code.ROW_BURIED if request_id in buried else Code.ROW_MISSING, request_id)
            continue
        money.compared_clickhouse_nano += row.cost_nano
        _check_row(tally, request_id, terminal, row, charged_nano)
        if log is not None:
            money.whole.add(request_id)
    return money


def check_strangers(books: Books, tally: Tally, *, truncated_ms: int) -> None:
    """Note what the books know of requests that nobody has accepted.

    Args:
        books: what was read.
        tally: where to note it.
        truncated_ms: before this time requests may have been deleted.
    """
    kafka, rows = books.kafka, books.clickhouse.rows
    known = kafka.requests.keys() | {each.request_id for each in kafka.malformed.values()}
    # But feedback, which anybody may give on any id.
    known |= {each.request_id for each in kafka.dead_letters.values() if each.stage != FEEDBACK}
    for request_id in strangers(books):
        if request_id in known:
            continue
        times = [each.accepted_at_ms for each in kafka.terminals.get(request_id, ())]
        log, row = kafka.logs.get(request_id), rows.get(request_id)
        times += [each.accepted_at_ms for each in (log, row) if each is not None]
        accepted = [each for each in times if each is not None]
        # One that nothing dates is a stranger, too: a false entry in the ledger has no time of acceptance.
        if not accepted or any(
            truncated_ms <= each < books.taken_at_ms and books.window.holds(each) for each in accepted
        ):
            tally.add(Code.STRANGERS, request_id)


def strangers(books: Books) -> set[str]:
    """Return the ids that a book knows and no topic for requests does, as far as it was read."""
    kafka = books.kafka
    ids = kafka.terminals.keys() | kafka.logs.keys() | kafka.charges.keys() | books.clickhouse.rows.keys()
    return ids - kafka.requests.keys()


def _check_charges(money: Money, tally: Tally, request_id: str, charges: list[Charge]) -> int:
    """Note double charges; return what the ledger says that the request costs."""
    money.resent_charges += sum(each.times - 1 for each in charges if not each.contradictory)
    twice = sum(each.contradictory for each in charges) + max(len(charges) - 1, 0)
    if twice:
        tally.add(Code.DUPLICATE_CHARGE, request_id, times=twice)
    return sum(each.amount_nano for each in charges)


def _check_row(tally: Tally, request_id: str, terminal: Terminal, row: Row, charged_nano: int) -> None:
    if row.rows > 1:
        tally.add(Code.ROW_EXTRA, request_id, times=row.rows - 1)
    if row.cost_nano != charged_nano:
        tally.add(Code.LEDGER_CLICKHOUSE, request_id)
    if row.status != terminal.status:
        tally.add(Code.ROW_DIFFERS, request_id)


def _buried(books: Books) -> set[str]:
    """Return the requests whose log record the sink, or whose outcome the cost stage, could not take."""
    return {
        letter.request_id
        for letter in books.kafka.dead_letters.values()
        if letter.request_id is not None and letter.stage in ("cost", "analytics")
    }
