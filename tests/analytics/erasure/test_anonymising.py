"""What an erasure makes of log records, and of the inserts that hold them."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from analytics.erasure.late_rows import Anonymiser
from analytics.sink.batches import OffsetRange, SinkBatch
from analytics.sink.rows import PAYLOADS, REQUESTS, rows_of
from analytics.sink.writer import PreparedInserts, TextRules, prepare
from streams.erasure import ErasureList, Subject
from streams.errors import UnauthenticRecord
from streams.events import ErasureMode, Payload, RequestLog
from tests.analytics.logs import NOON, make_log, make_record

ANN = Subject("acme", "ann")
UNTIL = NOON + timedelta(minutes=5)
TEXT = Payload(request_text="I am Ann", reply_text="Hello Ann")


def erasing(*subjects: Subject, mode: ErasureMode = "anonymise") -> ErasureList:
    known = ErasureList()
    for subject in subjects:
        erasure = known.ordered(subject, mode=mode, until=UNTIL)
        known = known.learned([(erasure.digest, erasure)])
    return known


def of_ann(request_id: str = "r-1", **fields: Any) -> RequestLog:
    return make_log(request_id, **{"user_id": "ann", "session_id": "s-1", "payload": TEXT} | fields)


def prepared(
    *logs: RequestLog, erasures: ErasureList | None = None, text: TextRules | None = None
) -> PreparedInserts:
    records = tuple(make_record(offset, log) for offset, log in enumerate(logs))
    batch = SinkBatch(topic="t", partition=0, range=OffsetRange(0, len(logs) - 1), records=records)
    return prepare(batch, ingested_at=NOON, text=text or TextRules(), erasures=erasures)


def test_what_headrace_did_not_write_is_no_row() -> None:
    """Another tenant's numbers are made by Headrace alone; the records around it are stored."""
    ours, forged = make_record(0, of_ann("r-1")), make_record(1, of_ann("r-2"))
    records = (ours, msgspec.structs.replace(forged, authentic=False))
    batch = SinkBatch(topic="t", partition=0, range=OffsetRange(0, 1), records=records)
    found = prepare(batch, ingested_at=NOON, text=TextRules())
    assert [(each.source, type(each.fault)) for each in found.refusals] == [(1, UnauthenticRecord)]
    assert {source for block in found.blocks for source in block.sources} == {0}


def test_a_record_loses_its_user_and_nothing_that_is_summed_up() -> None:
    """Name, session, texts and the error's words go; everything else is byte for byte what it was."""
    erasures = erasing(ANN)
    log = of_ann(error="no model 'ann-s'", error_code="model_not_found")
    found, erasure = Anonymiser(erasures).apply(log)
    assert erasure is not None
    assert found == msgspec.structs.replace(
        log, user_id=erasure.pseudonym, session_id="", error="model_not_found", payload=None
    )
    assert found.cost_usd == Decimal("0.000700001")
    assert "ann" not in repr(found).lower()


def test_no_error_stays_no_error() -> None:
    """Or the error rate would change."""
    found, _ = Anonymiser(erasing(ANN)).apply(of_ann())
    assert found is not None
    assert found.error is None


def test_deleted_is_not_stored() -> None:
    """None of it."""
    found, erasure = Anonymiser(erasing(ANN, mode="delete")).apply(of_ann())
    assert found is None
    assert erasure is not None


@pytest.mark.parametrize(
    "log",
    [
        of_ann(user_id="bob"),
        of_ann(tenant="globex"),
        of_ann(accepted_at=UNTIL + timedelta(microseconds=1)),  # the user has come back
        of_ann(
            accepted_at=NOON.replace(tzinfo=None), finished_at=NOON, timings=(), calls=()
        ),  # refused later
    ],
    ids=["another user", "another tenant", "later", "no zone"],
)
def test_others_are_left_alone(log: RequestLog) -> None:
    """The very same record."""
    found, erasure = Anonymiser(erasing(ANN)).apply(log)
    assert found is log
    assert erasure is None


def test_what_was_accepted_at_that_moment_is_covered() -> None:
    """The list says: until then."""
    _, erasure = Anonymiser(erasing(ANN)).apply(of_ann(accepted_at=UNTIL))
    assert erasure is not None


def test_a_batch_with_an_erased_user_has_tokens_of_its_own() -> None:
    """It may have been written before the erasure: ClickHouse would drop the changed rows as repeats."""
    logs = (of_ann("r-1"), make_log("r-2", user_id="bob"))
    before, after = prepared(*logs), prepared(*logs, erasures=erasing(ANN))
    tokens = [{block.table.name: block.token for block in each.blocks} for each in (before, after)]
    assert "payloads_raw" not in tokens[1]
    assert not {tokens[0][name] for name in tokens[1]} & set(tokens[1].values())
    assert prepared(*logs, erasures=erasing(Subject("acme", "eve"))).blocks == before.blocks


def test_the_tokens_depend_on_the_erasure_alone() -> None:
    """Written again they are the same; after another erasure they are not."""
    logs = (of_ann("r-1"), make_log("r-2", user_id="bob"))
    ann, both = erasing(ANN), erasing(ANN, Subject("acme", "bob"))

    def tokens(erasures: ErasureList) -> list[str]:
        return [block.token for block in prepared(*logs, erasures=erasures).blocks]

    assert tokens(ann) == tokens(ann)
    assert not set(tokens(ann)) & set(tokens(both))


def test_a_batch_tells_whose_it_is() -> None:
    """Those are looked for once the batch is stored."""
    assert prepared(of_ann(), make_log("r-2", user_id="bob")).subjects == {ANN, Subject("acme", "bob")}


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        (TextRules(), {"acme", "globex"}),
        (TextRules(by_tenant={"acme": False}), {"globex"}),
        (TextRules(default=False, by_tenant={"acme": True}), {"acme"}),
        (TextRules(default=False), set()),
    ],
)
def test_texts_are_kept_as_their_tenant_wants(rules: TextRules, kept: set[str]) -> None:
    """Whatever holds for the others; the rows themselves are always kept."""
    found = prepared(of_ann("r-1"), of_ann("r-2", tenant="globex"), text=rules)
    rows = {block.table.name: block for block in found.blocks}
    tenant = PAYLOADS.columns.index("tenant")
    payloads = rows["payloads_raw"].rows if "payloads_raw" in rows else ()
    assert {row[tenant] for row in payloads} == kept
    assert len(rows["requests_raw"].rows) == 2


def test_what_is_changed_here_is_what_is_changed_in_stored_rows() -> None:
    """Of a request's columns just those that `analytics.erasure.row_eraser` assigns."""
    log = of_ann(error="oh", error_code="internal")
    found, _ = Anonymiser(erasing(ANN)).apply(log)
    assert found is not None
    before, after = (dict(rows_of(each, ingested_at=NOON).rows)[REQUESTS][0] for each in (log, found))
    changed = {name for name, one, other in zip(REQUESTS.columns, before, after, strict=True) if one != other}
    assert changed == {"user_id", "session_id", "error"}
