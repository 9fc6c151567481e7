"""What an audit can find: each kind with its words, whether it breaks the balance, and what to do."""

from collections import Counter
from enum import Enum

from headrace.ops.audit.report import AuditVerdict, Finding

MAX_IDS = 10


class FindingKind(Enum):
    """The kinds: what was found, what to do about it, the best verdict that an audit with it can have.

    The names are the codes that scripts know, and stable. Reports list findings in this order.
    """

    def __init__(self, title: str, advice: str, verdict: AuditVerdict = AuditVerdict.UNBALANCED) -> None:
        self.code = self.name.lower()
        self.title = title
        self.advice = advice
        self.verdict = verdict

    MISSING = (
        "accepted, past the deadline, and nothing works on it: no terminal reply",
        "look for the id in `headrace dlq list` and the workers' logs; then send it again with the same id",
    )
    CONTRADICTORY_REPLIES = (
        "a second terminal reply to the same submission that says something else",
        "compare the records on the reply topic by their source header; only Headrace may write there",
    )
    ANSWERED_TWICE = (
        "two submissions of one request were each worked on",
        "check that Redis keeps its data (append-only file, no eviction), and HEADRACE_REGISTRY_TTL_S",
    )
    UNANSWERED_SUBMISSIONS = (
        "a repeated submission got no reply of its own, though its request is done",
        "its sender should ask once more with the same id: the stored reply is sent",
    )
    MALFORMED_UNBURIED = (
        "a record on a topic for requests that is no request, and has no dead letter",
        "read the record at that address; its bytes are nowhere else",
    )
    MALFORMED_UNTOLD = (
        "a malformed record whose sender was not told, though it has an id",
        "tell its sender; the dead letter says what was wrong",
    )
    STRANGERS = (
        "replies, log records, ledger entries or rows of requests that were never accepted",
        "find out who writes to the internal topics or to ClickHouse: only Headrace may",
    )
    DUPLICATE_CHARGES = (
        "charged more than once, or with two different amounts",
        "compare the entries on llm.ledger.v1 by entry_id; correct the customer's account by hand",
    )
    LEDGER_DIFFERS_FROM_REPLY = (
        "the ledger's amount is not what the reply says that it cost",
        "compare the entry on llm.ledger.v1 with the reply; the provider's invoice decides",
    )
    LEDGER_DIFFERS_FROM_CLICKHOUSE = (
        "the ledger's amount is not that of the row in ClickHouse",
        "compare the two; writing the request's log record to llm.logs.v1 again replaces its row",
    )
    UNLOGGED = (
        "has its reply, and no log record",
        "look for a dead letter of the cost stage with `headrace dlq list`",
    )
    ROWS_MISSING = (
        "no row in ClickHouse, though the sink is past the log record",
        "write the log record to llm.logs.v1 again, or reset the sink's offsets to before it",
    )
    ROWS_EXTRA = (
        "more than one row in ClickHouse",
        "the rows differ in tenant or accepted_at: compare them in requests_raw",
    )
    ROWS_DIFFER = (
        "the row in ClickHouse has another status than the reply",
        "writing the log record to llm.logs.v1 again replaces the row",
    )
    ROWS_DEAD_LETTERED = (
        "no row in ClickHouse; the record is a dead letter",
        "`headrace dlq show`, then `headrace dlq replay`",
        AuditVerdict.BALANCED,
    )
    CALLS_DIFFER_FROM_COST = (
        "the calls in ClickHouse are not those of the log record, or do not add up to the request's cost",
        "writing the log record to llm.logs.v1 again replaces the rows",
    )
    CALLS_BOOKED_TWICE = (
        "one call is booked in two rows of llm_calls",
        "compare the rows in llm_calls_raw: one call belongs to one request",
    )
    CALLS_BILLED_TWICE = (
        "the provider has billed one call twice",
        "something in between repeats requests (a proxy, an SDK's retries): switch that off",
    )
    CALLS_NOT_INVOICED = (
        "booked as answered, or with an amount that is no estimate, and not on the invoice",
        "was the invoice cleared, or does --invoice name another simulator?",
    )
    CALLS_MISPRICED = (
        "a call whose usage is no estimate is booked with another amount than it was billed with",
        "compare the token counts of llm_calls with the invoice, and the model's prices",
    )
    CALLS_MISESTIMATED = (
        "booked as an estimate that the invoice does not confirm: no prompt, or over twice the tokens",
        "compare token counts with the invoice; find out why the provider reports no plausible usage",
    )
    UNBOOKED_CALLS = (
        "billed by the provider, and not booked",
        "a worker and Redis's data were lost together, or another client uses the same provider key",
    )
    OPEN = (
        "no terminal reply yet, and still in time or under way",
        "wait: `headrace audit --wait 60`",
        AuditVerdict.OPEN,
    )
    WAITING = (
        "decided, and not yet booked everywhere",
        "wait: `headrace audit --wait 60`; if it stays, see what lags below",
        AuditVerdict.OPEN,
    )
    DEAD_LETTERS_WAITING = (
        "dead letters that nobody has replayed or discarded",
        "`headrace dlq list`",
        AuditVerdict.BALANCED,
    )
    TRUNCATED = (
        "retention has deleted records of this window: what came before is not audited",
        "choose a later --since, or keep the topics longer",
        AuditVerdict.BALANCED,
    )
    REPLY_TOPICS_GONE = (
        "reply topics that requests have named and that do not exist (any more)",
        "replies to them were sent to llm.replies.v1 instead, or were deleted with the topic",
        AuditVerdict.BALANCED,
    )
    UNDECODABLE = (
        "records that cannot be decoded as what their topic carries",
        "find out who writes to the topic; they are not counted",
        AuditVerdict.BALANCED,
    )
    UNAUTHENTIC = (
        "records on Headrace's own topics that Headrace did not write",
        "they had no effect; find out who may write to the topic, and take that right away",
        AuditVerdict.BALANCED,
    )
    INVOICE_INCOMPLETE = (
        "the simulator has forgotten items of this window: calls without an item are not held against it",
        "choose a later --since",
        AuditVerdict.BALANCED,
    )


class FindingTally:
    """Collects findings: how often each kind was found, and for which ids."""

    def __init__(self) -> None:
        self._counts: Counter[FindingKind] = Counter()
        self._ids: dict[FindingKind, dict[str, None]] = {}

    def add(self, kind: FindingKind, which: str, *, times: int = 1) -> None:
        """Add one more finding; `which` is the id of a request, call or record."""
        self._counts[kind] += times
        ids = self._ids.setdefault(kind, {})
        if len(ids) < MAX_IDS:
            ids[which] = None

    def count(self, *kinds: FindingKind) -> int:
        """Return how often these were found."""
        return sum(self._counts[kind] for kind in kinds)

    def findings(self) -> tuple[Finding, ...]:
        """Return what was found, in the order of `FindingKind`."""
        return tuple(
            Finding(
                code=kind.code,
                title=kind.title,
                count=self._counts[kind],
                breaks=kind.verdict is AuditVerdict.UNBALANCED,
                ids=tuple(self._ids[kind]),
                advice=kind.advice,
            )
            for kind in FindingKind
            if kind in self._counts
        )

    @property
    def verdict(self) -> AuditVerdict:
        """What the findings come to: the worst of their verdicts."""
        found = {kind.verdict for kind in self._counts}
        worst_first = (AuditVerdict.UNBALANCED, AuditVerdict.OPEN)
        return next((each for each in worst_first if each in found), AuditVerdict.BALANCED)
