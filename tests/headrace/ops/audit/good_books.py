"""Books that balance, for tests that break exactly one thing in them."""

from headrace.ops.audit.balance.balance import balance
from headrace.ops.audit.evidence.positions import SINK, STAGE_SOURCES
from headrace.ops.audit.evidence.records import (
    Books,
    Call,
    Charge,
    ClickHouseBooks,
    Committed,
    DeadLetter,
    InvoiceBooks,
    Item,
    KafkaBooks,
    Log,
    Malformed,
    Reading,
    RegistryBooks,
    Request,
    Row,
    Submission,
    Terminal,
    Window,
)
from headrace.ops.audit.report import Finding, Report

MINUTE_MS = 60_000
NOW_MS = 1_800_000_000_000
SINCE_MS = NOW_MS - 60 * MINUTE_MS
AT_MS = NOW_MS - 30 * MINUTE_MS  # when the requests were accepted
COST_NANO = 1_000_500
END = 1_000  # of every partition


def request(at_ms: int = AT_MS, *, correlation: bytes = b"c", offset: int = 0) -> Request:
    """An accepted request with a deadline of a minute."""
    return Request(
        submissions={correlation: Submission(partition=0, offset=offset, at_ms=at_ms)},
        deadline_ms=at_ms + MINUTE_MS,
        inside=at_ms >= SINCE_MS,
    )


def terminal(at_ms: int = AT_MS, *, correlation: bytes = b"c", status: str = "answered") -> Terminal:
    """Its reply, a second later."""
    return Terminal(
        correlation=correlation,
        replay=0,
        status=status,
        digest=1,
        cost_nano=COST_NANO,
        at_ms=at_ms + 1_000,
        accepted_at_ms=at_ms,
    )


def add_request(books: Books, request_id: str, *, at_ms: int = AT_MS) -> None:
    """Enter a request that one call has answered, in every book."""
    call_id = f"call-{request_id}"
    kafka, clickhouse = books.kafka, books.clickhouse
    kafka.requests[request_id] = request(at_ms)
    kafka.terminals[request_id] = [terminal(at_ms)]
    kafka.logs[request_id] = Log(
        partition=0,
        offset=len(kafka.logs),
        accepted_at_ms=at_ms,
        cost_nano=COST_NANO,
        call_ids=(call_id,),
    )
    kafka.charges[request_id] = [Charge(entry_id=f"{request_id}:settle", replay=0, amount_nano=COST_NANO)]
    clickhouse.rows[request_id] = Row(accepted_at_ms=at_ms, status="answered", cost_nano=COST_NANO)
    clickhouse.calls[call_id] = Call(
        request_id=request_id,
        cost_nano=COST_NANO,
        error=None,
        finish_reason="stop",
        shadow=False,
        orphaned=False,
        input_tokens=1_000,
        output_tokens=100,
    )
    assert books.invoice is not None
    books.invoice.items[call_id] = Item(
        cost_nano=COST_NANO, at_ms=at_ms, input_tokens=1_000, output_tokens=100
    )


def add_malformed(books: Books, request_id: str, *, at_ms: int = AT_MS) -> str:
    """Enter a record that is no request, its dead letter, and the reply that says so; return its place."""
    address = f"llm.requests.v1:0:{len(books.kafka.malformed)}"
    books.kafka.malformed[address] = Malformed(
        address=address,
        request_id=request_id,
        correlation=b"m",
        submission=Submission(partition=0, offset=0, at_ms=at_ms),
        inside=True,
    )
    books.kafka.dead_letters[f"0:{len(books.kafka.dead_letters)}"] = DeadLetter(
        place=f"0:{len(books.kafka.dead_letters)}",
        stage="guardrail",
        record=address,
        request_id=request_id,
        inside=True,
    )
    books.kafka.terminals.setdefault(request_id, []).append(
        Terminal(
            correlation=b"m",
            replay=0,
            status="failed",
            digest=2,
            cost_nano=0,
            at_ms=at_ms,
            accepted_at_ms=None,
        ),
    )
    return address


def stand(group: str, topic: str, *, done: int = END, oldest_ms: int | None = None) -> Committed:
    """A consumer group that has finished everything below an offset of its one partition."""
    return Committed(group=group, topic=topic, offsets={0: done}, ends={0: END}, oldest_ms=oldest_ms)


def good_books(requests: int = 3) -> Books:
    """Books of requests that were all answered by one call, half an hour ago; nothing is under way."""
    books = Books(
        window=Window(since_ms=SINCE_MS),
        taken_at_ms=NOW_MS,
        kafka=KafkaBooks(
            stages=tuple(stand(group, topic) for group, topic in STAGE_SOURCES.items()),
            sink=stand(*SINK),
            readings={"llm.requests.v1": Reading(topic="llm.requests.v1")},
        ),
        registry=RegistryBooks(),
        clickhouse=ClickHouseBooks(),
        invoice=InvoiceBooks(),
    )
    for number in range(requests):
        add_request(books, f"r{number}")
    return books


def found(books: Books) -> dict[str, Finding]:
    """The findings of an audit, by code."""
    return {finding.code: finding for finding in balance(books).findings}


def broken_equations(report: Report) -> list[str]:
    """The equations that do not hold."""
    return [each.name for each in report.equations if not each.holds]
