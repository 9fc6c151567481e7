"""Clients that disconnect at a random point, over three routes and by both policies: the bench, in short."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from bench.disconnects import (
    BEHAVIOUR,
    Books,
    Clients,
    Leaver,
    Point,
    books,
    compare,
    leavers,
    on_its_way_usd,
)
from tests.acceptance.conftest import System
from tests.acceptance.test_audit import audit

CLIENTS = 60


@pytest.mark.acceptance
async def test_what_clients_that_left_have_spent_is_booked_once(healthy: System) -> None:
    """The audit balances; of `continue` all is booked to the last digit, of `cancel` as far as is known."""
    healthy.behave(**BEHAVIOUR)
    since = datetime.now(UTC).isoformat()
    clients = leavers(CLIENTS, seed=7)
    await Clients(healthy.endpoints, at_once=CLIENTS).run(clients)
    assert compare(clients, await books(healthy.endpoints, clients)) == []
    dropped = {each.point for each in clients if each.dropped}
    assert dropped == set(Point)
    ended = {(each.policy, each.reply["status"]) for each in clients if each.reply}
    assert {("continue", "answered"), ("cancel", "cancelled")} <= ended
    report = audit(healthy, since, "--wait", "60")[1]
    assert (report["verdict"], report["figures"]["unbooked_calls"]) == ("balanced", 0)


LEFT = Leaver(
    path="/v1/chat",
    policy="continue",
    by_header=True,
    point=Point.TEXT,
    after_s=0.0,
    after_chars=1,
    reply={"status": "answered", "cost_usd": Decimal("0.002")},
)
ID = LEFT.request_id
CALL = {"call_id": "c-1", "cost_usd": "0.002", "error": None}
BALANCED = Books(calls={ID: [CALL]}, rows={ID: Decimal("0.002")}, invoice={"c-1": {"usd": "0.002"}})


def test_books_that_balance() -> None:
    """Reply, row, call and bill say the same."""
    assert compare([LEFT], BALANCED) == []


@pytest.mark.parametrize(
    "found",
    [
        replace(BALANCED, invoice={"c-1": {"usd": "0.002000001"}}),
        replace(BALANCED, invoice={"c-1": {"usd": "0.001999999"}}),
        replace(BALANCED, invoice={}),
        replace(BALANCED, rows={ID: Decimal("0.001")}),
        replace(BALANCED, calls={ID: []}),
        replace(BALANCED, calls={ID: [CALL, CALL]}),
    ],
    ids=["underbooked", "overbooked", "not_billed", "another_row", "not_booked", "booked_twice"],
)
def test_every_difference_is_found(found: Books) -> None:
    """By a nano-dollar, too."""
    assert compare([LEFT], found)


@pytest.mark.parametrize(("beyond", "wrong"), [("0", 0), ("0.000000001", 1)])
def test_a_stopped_call_may_be_billed_for_what_was_on_its_way(beyond: str, wrong: int) -> None:
    """So much, and no nano-dollar more."""
    client = replace(LEFT, policy="cancel", reply={"status": "cancelled", "cost_usd": Decimal("0.002")})
    billed = Decimal("0.002") + on_its_way_usd() + Decimal(beyond)
    found = replace(
        BALANCED, calls={ID: [CALL | {"error": "cancelled"}]}, invoice={"c-1": {"usd": str(billed)}}
    )
    assert len(compare([client], found)) == wrong
