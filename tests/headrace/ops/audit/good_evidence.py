"""Evidence that balance, for tests that break exactly one thing in them."""

from headrace.ops.audit.balance import balance
from headrace.ops.audit.evidence import (
    AcceptedRequest,
    AuditWindow,
    BilledCall,
    CallRow,
    ClickHouseEvidence,
    DeadLetter,
    Evidence,
    GroupPosition,
    InvoiceEvidence,
    KafkaEvidence,
    LedgerCharge,
    LogRecord,
    MalformedRecord,
    RedisEvidence,
    RequestRow,
    Submission,
    TerminalReply,
    TopicRead,
)
from headrace.ops.audit.report import AuditReport, Finding
from streams.pipeline import SINK, STAGES

MINUTE_MS = 60_000
NOW_MS = 1_800_000_000_000
SINCE_MS = NOW_MS - 60 * MINUTE_MS
AT_MS = NOW_MS - 30 * MINUTE_MS  # when the requests were accepted
COST_NANO = 1_000_500
END = 1_000  # of every partition


def request(at_ms: int = AT_MS, *, correlation: bytes = b"c", offset: int = 0) -> AcceptedRequest:
    """An accepted request with a deadline of a minute."""
    return AcceptedRequest(
        submissions={correlation: Submission(partition=0, offset=offset, at_ms=at_ms)},
        deadline_ms=at_ms + MINUTE_MS,
        inside=at_ms >= SINCE_MS,
    )


def terminal(at_ms: int = AT_MS, *, correlation: bytes = b"c", status: str = "answered") -> TerminalReply:
    """Its reply, a second later."""
    return TerminalReply(
        correlation=correlation,
        replay=0,
        status=status,
        digest=1,
        cost_nano=COST_NANO,
        at_ms=at_ms + 1_000,
        accepted_at_ms=at_ms,
    )


def add_request(evidence: Evidence, request_id: str, *, at_ms: int = AT_MS) -> None:
    """Enter a request that one call has answered, in every book."""
    call_id = f"call-{request_id}"
    kafka, clickhouse = evidence.kafka, evidence.clickhouse
    kafka.requests[request_id] = request(at_ms)
    kafka.terminals[request_id] = [terminal(at_ms)]
    kafka.logs[request_id] = LogRecord(
        partition=0,
        offset=len(kafka.logs),
        accepted_at_ms=at_ms,
        call_ids=(call_id,),
    )
    kafka.charges[request_id] = [
        LedgerCharge(entry_id=f"{request_id}:settle", replay=0, amount_nano=COST_NANO)
    ]
    clickhouse.rows[request_id] = RequestRow(accepted_at_ms=at_ms, status="answered", cost_nano=COST_NANO)
    clickhouse.calls[call_id] = CallRow(
        request_id=request_id,
        cost_nano=COST_NANO,
        error=None,
        finish_reason="stop",
        shadow=False,
        orphaned=False,
        input_tokens=1_000,
        output_tokens=100,
    )
    assert evidence.invoice is not None
    evidence.invoice.items[call_id] = BilledCall(
        cost_nano=COST_NANO, at_ms=at_ms, input_tokens=1_000, output_tokens=100
    )


def add_malformed(evidence: Evidence, request_id: str, *, at_ms: int = AT_MS) -> str:
    """Enter a record that is no request, its dead letter, and the reply that says so; return its place."""
    address = f"llm.requests.v1:0:{len(evidence.kafka.malformed)}"
    evidence.kafka.malformed[address] = MalformedRecord(
        request_id=request_id,
        correlation=b"m",
        submission=Submission(partition=0, offset=0, at_ms=at_ms),
        inside=True,
    )
    evidence.kafka.dead_letters[f"0:{len(evidence.kafka.dead_letters)}"] = DeadLetter(
        stage="guardrail",
        record=address,
        request_id=request_id,
        inside=True,
    )
    evidence.kafka.terminals.setdefault(request_id, []).append(
        TerminalReply(
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


def stand(group: str, topic: str, *, done: int = END, oldest_ms: int | None = None) -> GroupPosition:
    """A consumer group that has finished everything below an offset of its one partition."""
    return GroupPosition(group=group, topic=topic, offsets={0: done}, ends={0: END}, oldest_ms=oldest_ms)


def good_evidence(requests: int = 3) -> Evidence:
    """Evidence of requests that were all answered by one call, half an hour ago; nothing is under way."""
    evidence = Evidence(
        window=AuditWindow(since_ms=SINCE_MS),
        taken_at_ms=NOW_MS,
        kafka=KafkaEvidence(
            stages=tuple(stand(spec.group, spec.source.name) for spec in STAGES),
            sink=stand(SINK.group, SINK.source.name),
            topics={"llm.requests.v1": TopicRead(topic="llm.requests.v1")},
        ),
        redis=RedisEvidence(),
        clickhouse=ClickHouseEvidence(),
        invoice=InvoiceEvidence(),
    )
    for number in range(requests):
        add_request(evidence, f"r{number}")
    return evidence


def found(evidence: Evidence) -> dict[str, Finding]:
    """The findings of an audit, by code."""
    return {finding.code: finding for finding in balance(evidence).findings}


def broken_equations(report: AuditReport) -> list[str]:
    """The equations that do not hold."""
    return [each.name for each in report.equations if not each.holds]
