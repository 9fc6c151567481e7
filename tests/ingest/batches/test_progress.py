"""How far a batch is, and what its ids are."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingest.batches.batch import (
    SUBMIT_TIMEOUT_S,
    Batch,
    BatchStatus,
    batch_id_for,
    line_request_id,
    progress_of,
)
from ingest.batches.lines import LineName
from ingest.errors import failure_of
from streams.events import Reply, Status
from streams.registry.registry import RequestSummary

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(seconds=SUBMIT_TIMEOUT_S)


def batch(**fields: Any) -> Batch:
    given: dict[str, Any] = {
        "batch_id": "batch_1",
        "tenant": "acme",
        "digest": "d",
        "names": tuple(LineName(name, "/v1/requests") for name in "abc"),
        "created_at": LONG_AGO,
        "submitted_at": NOW,
    }
    return Batch(**given | fields)


@pytest.mark.parametrize(
    ("fields", "ended", "open_", "status"),
    [
        ({}, 0, 0, BatchStatus.VALIDATING),
        ({}, 3, 0, BatchStatus.VALIDATING),
        ({"submitted_at": LONG_AGO}, 1, 1, BatchStatus.FAILED),
        ({"accepted_at": NOW}, 0, 3, BatchStatus.IN_PROGRESS),
        ({"accepted_at": NOW, "submitted_at": LONG_AGO}, 2, 1, BatchStatus.IN_PROGRESS),
        ({"accepted_at": NOW}, 2, 0, BatchStatus.IN_PROGRESS),  # one is not known (yet)
        ({"accepted_at": NOW}, 3, 0, BatchStatus.COMPLETED),
        ({"accepted_at": NOW, "cancelled_at": NOW}, 1, 2, BatchStatus.CANCELLING),
        ({"accepted_at": NOW, "cancelled_at": NOW}, 3, 0, BatchStatus.CANCELLED),
        ({"cancelled_at": NOW, "submitted_at": LONG_AGO}, 1, 0, BatchStatus.CANCELLED),
    ],
)
def test_the_status_of_a_batch(fields: dict[str, Any], ended: int, open_: int, status: BatchStatus) -> None:
    """What was asked of it goes before how its lines are."""
    seen = [
        *[RequestSummary(Status.ANSWERED)] * ended,
        *[RequestSummary()] * open_,
        *[None] * (3 - ended - open_),
    ]
    assert progress_of(batch(**fields), seen, NOW).status is status


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("content", ["", "text"])
def test_a_line_has_failed_where_its_result_has_an_error(status: Status, content: str) -> None:
    """The counts, which do not see replies, and the results, which do, agree."""
    failed = failure_of(Reply(request_id="r", status=status, content=content)) is not None
    found = progress_of(
        batch(), [RequestSummary(status, has_text=bool(content)), RequestSummary(), None], NOW
    )
    assert (found.failed, found.completed, found.open) == (int(failed), int(not failed), 2)


@pytest.mark.parametrize(
    ("fields", "cut_short"),
    [
        ({}, False),  # validating
        ({"accepted_at": NOW}, False),  # in progress
        ({"submitted_at": LONG_AGO}, True),  # failed
        ({"accepted_at": NOW, "cancelled_at": NOW}, True),  # cancelling
    ],
)
def test_the_counts_add_up(fields: dict[str, Any], cut_short: bool) -> None:
    """A line that was not accepted is still to come, or has failed where the batch was cut short."""
    seen = [
        *[RequestSummary(Status.ANSWERED)] * 4,
        RequestSummary(Status.FAILED),
        RequestSummary(),
        RequestSummary(),
        *[None] * 3,
    ]
    names = tuple(LineName(str(number), "/v1/requests") for number in range(10))
    found = progress_of(batch(names=names, **fields), seen, NOW)
    assert found.completed + found.failed + found.open == 10
    assert (found.failed, found.open) == ((4, 2) if cut_short else (1, 5))


def test_a_key_names_a_batch_of_its_tenant() -> None:
    """The same id every time; another for another tenant, however the two are put together."""
    assert batch_id_for("acme", "k") == batch_id_for("acme", "k") != batch_id_for("zeta", "k")
    assert batch_id_for("a", "b:c") != batch_id_for("a:b", "c")
    assert batch_id_for("acme", None) != batch_id_for("acme", None)


def test_ids_stay_as_they_are() -> None:
    """A new release must not give an old batch new ids, or sending it again would be charged again."""
    assert batch_id_for("acme", "k") == "batch_ceb33630eb5953dca679b1b74c422cc0"
    assert line_request_id(batch(), LineName("a", "/v1/requests")) == "4b22e9ec-5b27-56b8-be67-6eed8cfeb2de"


def test_a_lines_id_is_its_tenants_batchs_and_names() -> None:
    """The route is not in it: the registry sees that the body differs."""
    name = LineName("a", "/v1/requests")
    ids = {
        line_request_id(batch(), name),
        line_request_id(batch(), LineName("b", "/v1/requests")),
        line_request_id(batch(batch_id="batch_2"), name),
        line_request_id(batch(tenant="zeta"), name),
    }
    assert len(ids) == 4
