"""The evidence of an audit: what each part says about the requests of a time window, as small values.

Only what the balance needs is kept of a record, no texts: memory grows by about 3 KB a request. Money
is in nano-dollars (integers, exact), times are Unix milliseconds.
"""

from collections import Counter
from decimal import Decimal

import msgspec
from msgspec import field

from streams.topics import REQUESTS

_NANO_DIGITS = 9

#: Stands for the correlation id of a sender that named none.
NO_CORRELATION = b""


def nano_usd(amount: Decimal | str) -> int:
    """Return dollars in nano-dollars, rounded as the sink rounds what goes into its columns."""
    return int(Decimal(amount).scaleb(_NANO_DIGITS).to_integral_value())


def usd_text(nano: int) -> str:
    """Return nano-dollars as dollars with nine decimals."""
    return f"{Decimal(nano).scaleb(-_NANO_DIGITS):.9f}"


class AuditWindow(msgspec.Struct, frozen=True, kw_only=True):
    """The time whose requests are audited. `until_ms` is None for "as far as there is anything"."""

    since_ms: int
    until_ms: int | None = None

    def contains(self, at_ms: int) -> bool:
        """Whether a time lies inside."""
        return at_ms >= self.since_ms and (self.until_ms is None or at_ms < self.until_ms)


class Submission(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One record that submitted a request: where it is, when it was written."""

    topic: str = REQUESTS.name
    partition: int
    offset: int
    at_ms: int


class AcceptedRequest(msgspec.Struct, kw_only=True):
    """An accepted request; `inside`: it was first submitted inside the window."""

    submissions: dict[bytes, Submission]  # by correlation id; records with the same one are one submission
    deadline_ms: int  # counted from its last replay
    inside: bool
    replay: int = 0  # how often a dead letter of it was replayed

    @property
    def first(self) -> Submission:
        """The record that was accepted."""
        return next(iter(self.submissions.values()))


class MalformedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record on a request topic that cannot be decoded. `request_id` is what could be read of it."""

    request_id: str | None
    correlation: bytes
    submission: Submission
    inside: bool


class TerminalReply(msgspec.Struct, kw_only=True, gc=False):
    """A terminal reply to one submission of a request, sent `times` times, the first time at `at_ms`."""

    correlation: bytes
    replay: int
    status: str
    digest: int  # of status, content, cost and error: equal replies have equal digests
    cost_nano: int
    at_ms: int
    accepted_at_ms: int | None  # None where the request could not be decoded
    times: int = 1


class LogRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The last log record of a request."""

    partition: int
    offset: int
    accepted_at_ms: int
    call_ids: tuple[str, ...]


class LedgerCharge(msgspec.Struct, kw_only=True, gc=False):
    """A settling entry of the ledger. Of entries with one id the highest replay number counts."""

    entry_id: str
    replay: int
    amount_nano: int
    times: int = 1
    contradictory: bool = False


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter. `record` is the address of what died; `forged`: not by Headrace, on its topic."""

    stage: str
    record: str
    request_id: str | None
    inside: bool
    forged: bool = False


class RetryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record on the retry topic."""

    request_id: str | None
    not_before_ms: int
    partition: int
    offset: int


class TopicRead(msgspec.Struct, kw_only=True):
    """How a topic was read. `truncated_ms`: records before this time may have been there, and are deleted."""

    topic: str
    records: int = 0
    last_ms: int | None = None
    truncated_ms: int | None = None
    gone: bool = False


class GroupPosition(msgspec.Struct, frozen=True, kw_only=True):
    """How far a consumer group has come on a topic; `oldest_ms` is that of its oldest unfinished record."""

    group: str
    topic: str
    offsets: dict[int, int]
    ends: dict[int, int]
    oldest_ms: int | None = None

    @property
    def lag(self) -> int:
        """How many records it has still to finish."""
        return sum(max(end - self.offsets.get(partition, 0), 0) for partition, end in self.ends.items())

    def has_finished(self, partition: int, offset: int) -> bool:
        """Whether the group is past the record."""
        return offset < self.offsets.get(partition, 0)


class KafkaEvidence(msgspec.Struct, kw_only=True):
    """What the topics say. Replies, logs and charges are by request id, dead letters by their id."""

    requests: dict[str, AcceptedRequest] = {}
    malformed: dict[str, MalformedRecord] = {}  # by address
    terminals: dict[str, list[TerminalReply]] = {}
    answers: dict[str, set[bytes]] = {}  # correlation ids of submissions that got a repeat or a refusal
    repeated: dict[str, int] = {}  # when the requests were accepted whose replies were sent again as repeats
    conflicts: int = 0  # submissions that were refused for a conflict
    logs: dict[str, LogRecord] = {}
    charges: dict[str, list[LedgerCharge]] = {}
    dead_letters: dict[str, DeadLetter] = {}
    actions: set[str] = set()  # ids of the dead letters that an operator has acted on
    retries: list[RetryRecord] = []
    undecodable: Counter[str] = field(default_factory=Counter)  # by topic
    unauthentic: Counter[str] = field(default_factory=Counter)  # not by Headrace, on its own topics; by topic
    topics: dict[str, TopicRead] = {}
    stages: tuple[GroupPosition, ...] = ()
    sink: GroupPosition | None = None
    relay: GroupPosition | None = None  # None where it has committed nothing yet


class RedisEvidence(msgspec.Struct, kw_only=True):
    """How many requests without a terminal reply Redis knows, and the calls in their journals."""

    known: int = 0
    open_calls: set[str] = set()


class RequestRow(msgspec.Struct, kw_only=True, gc=False):
    """What the view `requests` says about a request; `rows` is 1 if all is well."""

    accepted_at_ms: int
    status: str
    cost_nano: int
    rows: int = 1


class CallRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row of the view `llm_calls`. `estimated`: its tokens are, at least in part, our own count."""

    request_id: str
    cost_nano: int
    error: str | None
    finish_reason: str
    shadow: bool
    orphaned: bool
    estimated: bool = False
    input_tokens: int = 0
    output_tokens: int = 0


class ClickHouseEvidence(msgspec.Struct, kw_only=True):
    """What the views say: rows by request id, calls by call id; `doubled`: call ids that are there twice."""

    rows: dict[str, RequestRow] = {}
    calls: dict[str, CallRow] = {}
    doubled: set[str] = set()


class BilledCall(msgspec.Struct, kw_only=True, gc=False):
    """What the provider billed for a call of ours; `times` is 1 if all is well."""

    cost_nano: int
    at_ms: int
    input_tokens: int = 0
    output_tokens: int = 0
    times: int = 1


class InvoiceEvidence(msgspec.Struct, kw_only=True):
    """The invoice by our call ids. What was billed without one is not for a request, and left out."""

    items: dict[str, BilledCall] = {}
    complete: bool = True


class Evidence(msgspec.Struct, kw_only=True):
    """Everything that the balance compares. Without `invoice`, what providers billed is not known."""

    window: AuditWindow
    taken_at_ms: int
    kafka: KafkaEvidence
    redis: RedisEvidence
    clickhouse: ClickHouseEvidence
    invoice: InvoiceEvidence | None = None
