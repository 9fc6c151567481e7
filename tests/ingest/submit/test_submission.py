"""Ids, addresses and names of submissions."""

import pytest

from agents.intake.replies import reply_address
from agents.stage import Record
from ingest.submit.http_message import traceparent_of
from ingest.submit.identification import request_id_for
from ingest.submit.submission import reply_headers
from streams.events import ReplyAddress

ADDRESS = ReplyAddress(topic="llm.replies.v1", partition=258, correlation_id=bytes(range(16)))


def test_an_idempotency_key_names_a_request_of_its_tenant() -> None:
    """The same id every time; another for another tenant, however the two are put together."""
    assert request_id_for("acme", "k") == request_id_for("acme", "k")
    assert request_id_for("acme", "k") != request_id_for("zeta", "k")
    assert request_id_for("a", "b:c") != request_id_for("a:b", "c")
    # Pinned: a new release must not give old keys new ids, or repeats would be charged again.
    assert request_id_for("acme", "k") == "4462eae6-912f-5a72-8aec-00dc74e420fe"


def test_without_a_key_each_request_is_new() -> None:
    """Two clients that ask the same are two requests."""
    assert request_id_for("acme", None) != request_id_for("acme", None)


def test_the_guardrail_reads_what_ingest_writes() -> None:
    """The same address comes out of the headers."""
    record = Record(
        topic="llm.requests.v1", partition=0, offset=7, timestamp_ms=0, headers=tuple(reply_headers(ADDRESS))
    )
    read = reply_address(record, ())
    assert read == ADDRESS


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n",
    ],
)
def test_a_wrong_traceparent_is_not_passed_on(header: str | None) -> None:
    """A new trace begins."""
    assert traceparent_of(header) != header
    assert traceparent_of(header) != traceparent_of(header)
