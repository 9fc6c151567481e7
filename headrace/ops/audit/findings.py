"""What an audit can find: each kind with its words, whether it breaks the balance, and what to do."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from headrace.ops.audit.report import Finding

MAX_IDS = 10


class Kind(msgspec.Struct, frozen=True):
    """A kind of finding."""

    title: str
    advice: str
    breaks: bool = True
    open: bool = False


class Code(StrEnum):
    """The kinds, as scripts know them."""

    MISSING = "missing"
    CONTRADICTORY = "contradictory_replies"
    ANSWERED_TWICE = "answered_twice"
    UNANSWERED = "unanswered_submissions"
    UNBURIED = "malformed_unburied"
    UNTOLD = "malformed_untold"
    STRANGERS = "strangers"
    DUPLICATE_CHARGE = "duplicate_charges"
    LEDGER_REPLY = "ledger_differs_from_reply"
    LEDGER_CLICKHOUSE = "ledger_differs_from_clickhouse"
    UNLOGGED = "unlogged"
    ROW_MISSING = "rows_missing"
    ROW_EXTRA = "rows_extra"
    ROW_DIFFERS = "rows_differ"
    ROW_BURIED = "rows_dead_lettered"
    CALLS_DIFFER = "calls_differ_from_cost"
    CALL_DOUBLED = "calls_booked_twice"
    BILLED_TWICE = "calls_billed_twice"
    UNINVOICED = "calls_not_invoiced"
    MISPRICED = "calls_mispriced"
    MISESTIMATED = "calls_misestimated"
    UNBOOKED = "unbooked_calls"
    OPEN = "open"
    WAITING = "waiting"
    DEAD = "dead_letters_waiting"
    TRUNCATED = "truncated"
    GONE = "reply_topics_gone"
    UNDECODABLE = "undecodable"
    UNAUTHENTIC = "unauthentic"
    INVOICE_CUT = "invoice_incomplete"


KINDS: dict[Code, Kind] = {
    Code.MISSING: Kind(
        "accepted, past the deadline, and nothing works on it: no terminal reply",
        "look for the id in the workers' logs and with `headrace dlq list`; then send the request again with "
        "the same id: it is answered and charged once",
    ),
    Code.CONTRADICTORY: Kind(
        "a second terminal reply to the same submission that says something else",
        "compare the records on the reply topic by their source header; only Headrace may write there",
    ),
    Code.ANSWERED_TWICE: Kind(
        "two submissions of one request were each worked on",
        "the registry did not know the first one: check that Redis keeps its data (append-only file, no "
        "eviction), and the time between the two against HEADRACE_REGISTRY_TTL_S",
    ),
    Code.UNANSWERED: Kind(
        "a repeated submission got no reply of its own, though its request is done",
        "its sender should ask once more with the same id: the stored reply is sent",
    ),
    Code.UNBURIED: Kind(
        "a record on a topic for requests that is no request, and has no dead letter",
        "read the record at that place; its bytes are nowhere else",
    ),
    Code.UNTOLD: Kind(
        "a malformed record whose sender was not told, though it has an id",
        "tell its sender; the dead letter says what was wrong",
    ),
    Code.STRANGERS: Kind(
        "replies, log records, ledger entries or rows of requests that were never accepted",
        "find out who writes to the internal topics or to ClickHouse: only Headrace may",
    ),
    Code.DUPLICATE_CHARGE: Kind(
        "charged more than once, or with two different amounts",
        "compare the entries on llm.ledger.v1 by entry_id; correct the customer's account by hand",
    ),
    Code.LEDGER_REPLY: Kind(
        "the ledger's amount is not what the reply says that it cost",
        "compare the entry on llm.ledger.v1 with the reply; the provider's invoice decides",
    ),
    Code.LEDGER_CLICKHOUSE: Kind(
        "the ledger's amount is not that of the row in ClickHouse",
        "compare the entry with `SELECT * FROM requests WHERE request_id = '…'`; writing the request's log "
        "record to llm.logs.v1 again replaces its row",
    ),
    Code.UNLOGGED: Kind(
        "has its reply, and no log record",
        "look for a dead letter of the cost stage with `headrace dlq list`",
    ),
    Code.ROW_MISSING: Kind(
        "no row in ClickHouse, though the sink is past the log record",
        "write the log record to llm.logs.v1 again (the sink recognises repeats), or reset the sink's "
        "offsets to before it",
    ),
    Code.ROW_EXTRA: Kind(
        "more than one row in ClickHouse",
        "the rows differ in tenant or accepted_at: compare them in requests_raw",
    ),
    Code.ROW_DIFFERS: Kind(
        "the row in ClickHouse has another status than the reply",
        "writing the log record to llm.logs.v1 again replaces the row",
    ),
    Code.ROW_BURIED: Kind(
        "no row in ClickHouse; the record is a dead letter",
        "`headrace dlq show`, then `headrace dlq replay`",
        breaks=False,
    ),
    Code.CALLS_DIFFER: Kind(
        "the calls in ClickHouse are not those of the log record, or do not add up to the request's cost",
        "writing the log record to llm.logs.v1 again replaces the rows",
    ),
    Code.CALL_DOUBLED: Kind(
        "one call is booked in two rows of llm_calls",
        "compare the rows in llm_calls_raw: one call belongs to one request",
    ),
    Code.BILLED_TWICE: Kind(
        "the provider has billed one call twice",
        "something between Headrace and the provider repeats requests (a proxy, an SDK's retries): switch it "
        "off",
    ),
    Code.UNINVOICED: Kind(
        "booked as answered, or with an amount that is no estimate, and not on the invoice",
        "was the invoice cleared, or does --invoice name another simulator?",
    ),
    Code.MISPRICED: Kind(
        "a call whose usage is no estimate is booked with another amount than it was billed with",
        "compare the token counts of llm_calls with the invoice, and the prices in streams/models.py",
    ),
    Code.MISESTIMATED: Kind(
        "a call is booked as an estimate that the invoice does not bear out: without the prompt, or with "
        "more than twice the tokens",
        "compare the token counts of llm_calls with the invoice; where a provider counts that differently, "
        "find out why it reports no usage that can be believed",
    ),
    Code.UNBOOKED: Kind(
        "billed by the provider, and in no book",
        "a worker was lost between the call and its note, together with Redis's data; or another client uses "
        "the same provider key",
    ),
    Code.OPEN: Kind(
        "no terminal reply yet, and still in time or under way",
        "wait: `headrace audit --wait 60`",
        breaks=False,
        open=True,
    ),
    Code.WAITING: Kind(
        "decided, and not yet in every book",
        "wait: `headrace audit --wait 60`; if it stays, see what lags below",
        breaks=False,
        open=True,
    ),
    Code.DEAD: Kind(
        "dead letters that nobody has replayed or discarded",
        "`headrace dlq list`",
        breaks=False,
    ),
    Code.TRUNCATED: Kind(
        "retention has deleted records of this window: what came before is not audited",
        "choose a later --since, or keep the topics longer",
        breaks=False,
    ),
    Code.GONE: Kind(
        "reply topics that requests have named and that do not exist (any more)",
        "replies to them were sent to llm.replies.v1 instead, or were deleted with the topic",
        breaks=False,
    ),
    Code.UNDECODABLE: Kind(
        "records that are not what their topic carries",
        "find out who writes to the topic; they are not counted",
        breaks=False,
    ),
    Code.UNAUTHENTIC: Kind(
        "records on Headrace's own topics that Headrace did not write",
        "they had no effect; find out who may write to the topic, and take that right away",
        breaks=False,
    ),
    Code.INVOICE_CUT: Kind(
        "the simulator has forgotten items of this window: calls without an item are not held against it",
        "choose a later --since",
        breaks=False,
    ),
}


class Tally:
    """Collects findings."""

    def __init__(self) -> None:
        self._found: dict[Code, dict[str, None]] = {}
        self._counts: dict[Code, int] = {}

    def add(self, code: Code, which: str, *, times: int = 1) -> None:
        """Note one more finding; `which` is the id of a request, call or record."""
        self._counts[code] = self._counts.get(code, 0) + times
        ids = self._found.setdefault(code, {})
        if len(ids) < MAX_IDS:
            ids[which] = None

    def add_all(self, code: Code, which: Iterable[str]) -> None:
        """Note several."""
        for each in which:
            self.add(code, each)

    def count(self, *codes: Code) -> int:
        """Return how often these were found."""
        return sum(self._counts.get(code, 0) for code in codes)

    def findings(self) -> tuple[Finding, ...]:
        """Return what was found, in the order of `KINDS`."""
        return tuple(
            Finding(
                code=code.value,
                title=kind.title,
                count=self._counts[code],
                breaks=kind.breaks,
                ids=tuple(self._found[code]),
                advice=kind.advice,
            )
            for code, kind in KINDS.items()
            if code in self._counts
        )

    @property
    def breaks(self) -> bool:
        """Whether anything found breaks the balance."""
        return any(KINDS[code].breaks for code in self._counts)

    @property
    def open(self) -> bool:
        """Whether anything is under way."""
        return any(KINDS[code].open for code in self._counts)
