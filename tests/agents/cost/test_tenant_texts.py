"""Whose texts go into the log record."""

import pytest

from agents.cost.stage import CostStage
from streams.events import OutcomeReached, RequestLog, Status
from streams.topics import LOGS, OUTCOMES
from tests.agents.cost.calls import llm_call
from tests.fakes.envelopes import NOW, NOW_MS, completion, delivery, envelope
from tests.fakes.registries import ScriptedRegistry


@pytest.mark.parametrize(
    ("default", "by_tenant", "kept"),
    [
        (True, {}, True),
        (True, {"acme": False}, False),
        (True, {"globex": False}, True),
        (False, {"acme": True}, True),
        (False, {"globex": True}, False),
    ],
)
async def test_a_tenant_may_differ(default: bool, by_tenant: dict[str, bool], kept: bool) -> None:
    """Its own word counts; the topic keeps log records for a month."""
    stage = CostStage(
        ScriptedRegistry(),  # type: ignore[arg-type]  # a fake
        store_text=default,
        text_by_tenant=by_tenant,
        clock=lambda: NOW,
    )
    event = OutcomeReached(
        envelope=envelope(calls=(llm_call(),)), status=Status.ANSWERED, completion=completion()
    )
    emits = await stage.handle(delivery(event, topic=OUTCOMES, timestamp_ms=NOW_MS))
    (log,) = (each.value for each in emits if each.topic == LOGS.name)
    assert isinstance(log, RequestLog)
    assert (log.payload is not None) == kept
