"""Feedback into scores on the real engine: exact whatever comes again, and who was erased stays so."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.json import encode as encode_json

from analytics.clickhouse import ClickHouse
from analytics.erasure.row_eraser import RowEraser
from analytics.feedback.consumer import ScoreWriter
from analytics.feedback.pending_feedback import PendingRecord
from analytics.sink.writer import TextRules
from analytics.status import FeedbackStatus
from streams.codec import encode
from streams.erasure import ErasureList, Subject
from streams.events import Erasure, ErasureMode, FeedbackGiven
from tests.analytics.feedback.given import (
    WRITTEN_AT,
    Known,
    Letters,
    Stored,
    all_are_late,
    entry,
    feedback,
    nobody_is_late,
    record,
)
from tests.analytics.logs import NOON, make_log
from tests.analytics.stored_logs import store
from tests.databases import THOROUGH

pytestmark = pytest.mark.integration

ANN = Subject("acme", "ann")
UNTIL = NOON + timedelta(days=1)


class Rig:
    """A writer, and what it stands on but ClickHouse."""

    def __init__(self, clickhouse: ClickHouse, **given: Any) -> None:
        self.clickhouse = clickhouse
        self.letters, self.sink, self.known = Letters(), Stored(), Known()
        self.status = FeedbackStatus()
        self.writer = ScoreWriter(
            clickhouse,
            self.letters,  # type: ignore[arg-type]  # it only publishes
            self.sink,
            self.status,
            **{"erasures": self.known, **given},
        )

    async def take(self, *said: FeedbackGiven | bytes, late: bool = False) -> list[PendingRecord]:
        """Settle a batch; return what waits on."""
        entries = [entry(record(each, offset=offset)) for offset, each in enumerate(said)]
        settled = await self.writer.settle(entries, overdue=all_are_late if late else nobody_is_late)
        return [each for each in entries if each not in settled]

    async def scores(self, *columns: str, where: str = "1") -> list[tuple[Any, ...]]:
        names = ", ".join(columns)
        rows = await self.clickhouse.query(f"SELECT {names} FROM scores WHERE {where} ORDER BY ALL")
        return [tuple(row.values()) for row in rows]


def erasures(mode: ErasureMode, *, until: datetime = UNTIL) -> tuple[ErasureList, Erasure]:
    erasure = ErasureList().ordered(ANN, mode=mode, until=until)
    return ErasureList({erasure.digest: erasure}), erasure


# ── whatever comes again ──────────────────────────────────────────────────────────────────────────


@st.composite
def judgements(draw: st.DrawFn, run: str, requests: int) -> FeedbackGiven:
    """Anything anybody may say of one of a few requests, corrections and contradictions among it."""
    return feedback(
        f"{run}-{draw(st.integers(0, requests - 1))}",
        name=draw(st.sampled_from(("thumbs", "tone"))),
        value=draw(st.none() | st.decimals(-1_000_000, 1_000_000, places=draw(st.integers(0, 9)))),
        label=draw(st.sampled_from(("up", "down"))),
        source=draw(st.sampled_from(("user", "judge"))),
        score_id=draw(st.none() | st.sampled_from(("s-1", "s-2"))),
        # Some at one and the same millisecond: then Kafka's order must not matter either.
        scored_at=draw(st.none() | st.integers(0, 3).map(lambda ms: NOON + timedelta(milliseconds=ms))),
    )


def told_apart(said: Iterable[FeedbackGiven]) -> list[FeedbackGiven]:
    """Return judgements of which no two are of one score and one microsecond.

    Of two of one millisecond that is so once in a thousand times, by a hash of their random ids
    (`streams.request_rules.feedback.scored_at_of`). Then either may stand.
    """
    judged = [entry(record(each)).parsed for each in said]
    versions = {
        (one.feedback.request_id, one.score_id, one.scored_at): one.feedback  # type: ignore[union-attr]
        for one in judged
    }
    return list(versions.values())


def expected(said: Sequence[FeedbackGiven]) -> list[tuple[Any, ...]]:
    """The oracle: of each score the latest version."""
    newest: dict[tuple[str, str], Any] = {}
    for each in (entry(record(one)).parsed for one in said):
        key = (each.feedback.request_id, each.score_id)  # type: ignore[union-attr]
        if key not in newest or each.scored_at > newest[key].scored_at:  # type: ignore[union-attr]
            newest[key] = each
    return sorted(
        (request_id, score_id, each.feedback.name, each.value, each.feedback.label)
        for (request_id, score_id), each in newest.items()
    )


@given(data=st.data())
@settings(
    max_examples=6 * THOROUGH,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_scores_are_the_same_in_any_order_and_batches(
    clickhouse: ClickHouse, data: st.DataObject
) -> None:
    """Each record at least once, any share of them again, in any order and any bounds: late ones too."""
    run, requests = uuid4().hex, 3
    await store(
        clickhouse,
        [make_log(f"{run}-{day}", accepted_at=NOON - timedelta(days=day)) for day in range(requests)],
    )
    said = told_apart(data.draw(st.lists(judgements(run, requests), min_size=1, max_size=10, unique=True)))
    again = data.draw(st.lists(st.sampled_from(said), max_size=10))
    deliveries = data.draw(st.permutations([*said, *again]))
    rig = Rig(clickhouse)
    while deliveries:
        size = data.draw(st.integers(1, len(deliveries)))
        assert await rig.take(*deliveries[:size]) == []
        deliveries = deliveries[size:]
    columns = ("request_id", "score_id", "name", "value", "label")
    of_run = f"startsWith(request_id, '{run}')"
    assert await rig.scores(*columns, where=of_run) == expected(said)
    await clickhouse.execute("OPTIMIZE TABLE scores_raw FINAL")
    assert await rig.scores(*columns, where=of_run) == expected(said)


async def test_a_score_is_on_its_requests_day_with_its_requests_facts(clickhouse: ClickHouse) -> None:
    """However late it comes; the sender's word on the day makes no difference."""
    at = NOON - timedelta(days=40)
    log = make_log("r-1", accepted_at=at, experiment="tone", arm="b", prompt_version="7")
    await store(clickhouse, [log])
    rig = Rig(clickhouse)
    said = (
        feedback(score_id="a"),
        feedback(score_id="b", accepted_at=at),
        feedback(score_id="c", accepted_at=NOON),
    )
    assert await rig.take(*said) == []
    day = at.replace(tzinfo=None)
    assert await rig.scores("score_id", "accepted_at", "experiment", "arm", "prompt_version", "user_id") == [
        (score_id, day, "tone", "b", "7", log.user_id) for score_id in "abc"
    ]
    assert rig.status.scores == 3


# ── what has no request ───────────────────────────────────────────────────────────────────────────


async def test_feedback_waits_for_its_requests_row(clickhouse: ClickHouse) -> None:
    """It is a score once the row is there, and the others do not wait with it."""
    rig = Rig(clickhouse)
    await store(clickhouse, [make_log("here")])
    [waiting] = await rig.take(feedback("here"), feedback("not-yet"))
    assert await rig.scores("request_id") == [("here",)]
    await store(clickhouse, [make_log("not-yet")])
    waiting.tries = 1
    assert await rig.writer.settle([waiting], overdue=nobody_is_late) == [waiting]
    assert await rig.scores("request_id") == [("here",), ("not-yet",)]
    assert rig.letters.sent == []


async def test_what_waited_in_vain_is_a_dead_letter_that_says_why(clickhouse: ClickHouse) -> None:
    """An id that nobody knows, and one that is another tenant's: as it came, byte for byte."""
    rig = Rig(clickhouse)
    await store(clickhouse, [make_log("theirs", tenant="globex")])
    said = (feedback("nobodys"), feedback("theirs"))
    assert await rig.take(*said, late=True) == []
    assert [emit.value for emit in rig.letters.sent] == [record(each).value for each in said]
    assert "the tenant acme has no request nobodys" in rig.letters.reasons[0]
    assert "the request theirs is not one of the tenant acme" in rig.letters.reasons[1]
    headers = dict(rig.letters.sent[0].headers)
    assert headers["__streams.errors.stage"] == b"feedback"
    assert await rig.scores("request_id") == []
    assert rig.status.dead_letters == 2


async def test_nothing_is_given_up_while_the_sink_is_behind(clickhouse: ClickHouse) -> None:
    """The row may still be on its way, however long ago the request was."""
    rig = Rig(clickhouse)
    rig.sink.complete = False
    assert len(await rig.take(feedback("r-1"), late=True)) == 1
    rig.sink.complete = True
    await store(clickhouse, [make_log("r-1")])
    assert await rig.take(feedback("r-1"), late=True) == []
    assert await rig.scores("request_id") == [("r-1",)]
    assert len(rig.sink.asked) == 2


@pytest.mark.parametrize("request_id", ["r'1\\", "r-1\n", "\0", "r-1'], ['"])
async def test_strange_ids_hold_up_nobody(clickhouse: ClickHouse, request_id: str) -> None:
    """They are values, never SQL: dead letters at once, or once they have waited."""
    rig = Rig(clickhouse)
    await store(clickhouse, [make_log("r-1")])
    said = encode(feedback()).replace(b'"r-1"', encode_json(request_id))
    assert await rig.take(said, feedback(), late=True) == []
    assert await rig.scores("request_id") == [("r-1",)]
    assert len(rig.letters.sent) == 1


async def test_a_letter_that_is_too_large_is_left_where_it_is(clickhouse: ClickHouse) -> None:
    """It is told, and the others go on."""
    rig = Rig(clickhouse)
    rig.letters.too_large = True
    await store(clickhouse, [make_log("r-1")])
    assert await rig.take(b"{", feedback()) == []
    assert await rig.scores("request_id") == [("r-1",)]
    assert rig.status.dead_letters == 1


async def test_what_is_no_feedback_is_a_dead_letter_at_once(clickhouse: ClickHouse) -> None:
    """And so is what ClickHouse refuses; the others are stored."""
    rig = Rig(clickhouse)
    await store(clickhouse, [make_log("r-1")])
    assert await rig.take(b"{", feedback(), feedback(value=Decimal("NaN")), b'{"request_id": "r-1"}') == []
    assert await rig.scores("request_id", "value") == [("r-1", 1)]
    assert len(rig.letters.sent) == 3


# ── who is to be forgotten ────────────────────────────────────────────────────────────────────────


async def test_an_erased_users_feedback_does_not_bring_them_back(clickhouse: ClickHouse) -> None:
    """Whether their request's row still has their name or has the pseudonym already: no name, no words."""
    known, erasure = erasures("anonymise")
    rig = Rig(clickhouse)
    rig.known.lists = [known]
    await store(
        clickhouse,
        [
            make_log("named", user_id="ann"),
            make_log("anonymous", user_id=erasure.pseudonym),
            make_log("other", user_id="bob"),
        ],
    )
    said = [feedback(request_id, comment="I am Ann") for request_id in ("named", "anonymous", "other")]
    assert await rig.take(*said) == []
    assert await rig.scores("request_id", "user_id", "comment") == [
        ("anonymous", erasure.pseudonym, ""),
        ("named", erasure.pseudonym, ""),
        ("other", "bob", "I am Ann"),
    ]


async def test_feedback_of_a_deleted_user_leaves_no_row(clickhouse: ClickHouse) -> None:
    """It is settled, and no dead letter: nobody is to work on it again."""
    known, erasure = erasures("delete")
    rig = Rig(clickhouse)
    rig.known.lists = [known]
    await store(clickhouse, [make_log("named", user_id="ann"), make_log("was", user_id=erasure.pseudonym)])
    assert await rig.take(feedback("named"), feedback("was")) == []
    assert await rig.scores("request_id") == []
    assert (rig.letters.sent, rig.status.erased) == ([], 2)


async def test_a_user_who_comes_back_is_a_new_one(clickhouse: ClickHouse) -> None:
    """Only what was accepted before is covered."""
    known, _ = erasures("anonymise", until=NOON - timedelta(seconds=1))
    rig = Rig(clickhouse)
    rig.known.lists = [known]
    await store(clickhouse, [make_log("r-1", user_id="ann")])
    assert await rig.take(feedback(comment="hello again")) == []
    assert await rig.scores("user_id", "comment") == [("ann", "hello again")]


@pytest.mark.parametrize("mode", ["anonymise", "delete"])
async def test_an_erasure_that_is_ordered_meanwhile(clickhouse: ClickHouse, mode: ErasureMode) -> None:
    """It looked for rows before the score was there; so whoever stored that looks once more."""
    known, erasure = erasures(mode)
    rig = Rig(clickhouse)
    rig.known.lists = [ErasureList(), known]
    await store(clickhouse, [make_log("r-1", user_id="ann")])
    assert await rig.take(feedback(comment="I am Ann")) == []
    rows = await rig.scores("user_id", "comment")
    assert rows == ([(erasure.pseudonym, "")] if mode == "anonymise" else [])
    left = await clickhouse.query("SELECT count() AS n FROM scores_raw WHERE user_id = 'ann'")
    assert left == [{"n": 0}]


class Meanwhile(Known):
    """A list that was read just before an erasure, which is then carried out before anything else."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        known, self._erasure = erasures("anonymise")
        super().__init__([ErasureList(), known])
        self._clickhouse = clickhouse

    async def current(self) -> ErasureList:
        found = await super().current()
        await RowEraser(self._clickhouse).erase(ANN, self._erasure)
        return found


async def test_an_erasure_that_was_carried_out_meanwhile(clickhouse: ClickHouse) -> None:
    """The request's row has the pseudonym before the list tells of it: the words do not stay."""
    rig = Rig(clickhouse, erasures=Meanwhile(clickhouse))
    await store(clickhouse, [make_log("r-1", user_id="ann")])
    assert await rig.take(feedback(comment="I am Ann")) == []
    [(user_id, comment)] = await rig.scores("user_id", "comment")
    assert (user_id.startswith("erased-"), comment) == (True, "")


async def test_a_pseudonym_is_given_once(clickhouse: ClickHouse) -> None:
    """Feedback on an anonymous request does not have its rows rewritten each time."""
    known, erasure = erasures("anonymise")
    rig = Rig(clickhouse)
    rig.known.lists = [known]
    await store(clickhouse, [make_log("r-1", user_id=erasure.pseudonym)])
    assert await rig.take(feedback()) == []
    mutations = "SELECT count() AS n FROM system.mutations WHERE database = currentDatabase()"
    assert await clickhouse.query(mutations) == [{"n": 0}]


async def test_an_erasure_covers_scores(clickhouse: ClickHouse) -> None:
    """Those that are there when it is ordered: name and words."""
    rig = Rig(clickhouse)
    await store(clickhouse, [make_log("r-1", user_id="ann")])
    await rig.take(feedback(comment="I am Ann"))
    _, erasure = erasures("anonymise")
    await RowEraser(clickhouse).erase(ANN, erasure)
    assert await rig.scores("user_id", "comment", "value") == [(erasure.pseudonym, "", 1)]


async def test_tenants_that_want_no_texts_have_no_comments(clickhouse: ClickHouse) -> None:
    """As their requests have none."""
    rig = Rig(clickhouse, text=TextRules(default=True, by_tenant={"acme": False}))
    await store(clickhouse, [make_log("r-1"), make_log("r-2", tenant="globex")])
    await rig.take(feedback(comment="nice"), feedback("r-2", tenant="globex", comment="nice"))
    assert await rig.scores("tenant", "comment") == [("acme", ""), ("globex", "nice")]


def test_the_records_of_these_tests_are_later_than_their_requests() -> None:
    """Else they would look for them in the wrong place."""
    assert WRITTEN_AT > NOON
