"""Two outcomes of one request, with Redis away between them: the first reply stands. On a real Redis."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from agents.cost.stage import CostStage
from agents.stage import Delivery
from streams.errors import StoreUnavailable
from streams.events import ErrorInfo, OutcomeReached, Reply, ReplyAddress, Status
from streams.publisher import Emit
from streams.redis import connection
from streams.registry.registry import RequestRegistry, SubmissionState, correlation_origin
from streams.topics import OUTCOMES
from tests.agents.cost.calls import llm_call
from tests.fakes.envelopes import NOW, NOW_MS, completion, delivery, envelope

pytestmark = pytest.mark.integration

#: Of the request of `envelope`, in seconds after `NOW`.
_DEADLINE_S = 60
#: Nothing listens there: every command fails as it does while Redis is away.
_NOWHERE = "redis://127.0.0.1:1"


class Case:
    """One request, a cost stage, and a Redis that can be taken away from it."""

    def __init__(self, here: Redis, gone: Redis) -> None:
        self.request_id = uuid4().hex
        self.registry = RequestRegistry(here, ttl_s=600)
        self._away = RequestRegistry(gone, ttl_s=600)
        self._at = NOW
        self.stage = self.new_stage()

    def new_stage(self) -> CostStage:
        """What another process would have: it has sent nothing yet."""
        return CostStage(self.registry, store_text=False, clock=lambda: self._at)

    def lose_redis(self, *, lost: bool = True) -> None:
        self.stage.registry = self._away if lost else self.registry  # the fault that is injected

    def at(self, after_deadline_s: float) -> None:
        self._at = NOW + timedelta(seconds=_DEADLINE_S + after_deadline_s)

    def failed(self, code: str, *, offset: int, written_after_s: float = 0) -> Delivery[Any]:
        error = ErrorInfo(type="timeout_error", code=code, message=code)
        event = OutcomeReached(
            envelope=envelope(request_id=self.request_id), status=Status.FAILED, error=error
        )
        written_ms = NOW_MS + int((_DEADLINE_S + written_after_s) * 1000)
        return delivery(event, topic=OUTCOMES, timestamp_ms=written_ms, offset=offset)

    def answered(self, *, offset: int) -> Delivery[Any]:
        event = OutcomeReached(
            envelope=envelope(request_id=self.request_id, calls=(llm_call(),)),
            status=Status.ANSWERED,
            completion=completion(),
        )
        return delivery(event, topic=OUTCOMES, timestamp_ms=NOW_MS, offset=offset)

    async def run(self, given: Delivery[Any]) -> list[Reply]:
        """Bring an outcome to its end, and return the replies that leave."""
        emits = await self.stage.handle(given)
        await self.stage.delivered(given)
        return replies(emits)


def replies(emits: Any) -> list[Reply]:
    found: list[Emit] = list(emits)
    return [each.value for each in found if isinstance(each.value, Reply)]


@pytest.fixture
async def case(redis_url: str) -> AsyncIterator[Case]:
    here, gone = connection.connect(redis_url, timeout_s=30), connection.connect(_NOWHERE)
    yield Case(here, gone)
    await here.aclose()
    await gone.aclose()


async def test_a_second_failure_without_redis_is_no_second_reply(case: Case) -> None:
    """As it was seen once: its record came again, and was given up a minute after the deadline."""
    case.at(0)
    (first,) = await case.run(case.failed("deadline_exceeded", offset=1))
    case.at(61)
    case.lose_redis()
    again = case.failed("dependency_unavailable", offset=2, written_after_s=61)
    assert replies(await case.stage.handle(again)) == []
    case.at(10_000)
    assert replies(await case.stage.handle(again)) == []
    case.lose_redis(lost=False)
    assert await case.run(again) == []
    found = await case.registry.find(case.request_id)
    assert found is not None
    assert found.reply is not None
    assert found.reply.error == first.error


async def test_a_process_that_knows_nothing_waits_for_redis(case: Case) -> None:
    """For a minute from when the outcome was written; the deadline may have been long before."""
    case.at(0)
    await case.run(case.failed("deadline_exceeded", offset=1))
    case.stage = case.new_stage()
    case.lose_redis()
    again = case.failed("dependency_unavailable", offset=2, written_after_s=61)
    for after_s in (61, 120):
        case.at(after_s)
        with pytest.raises(StoreUnavailable):
            await case.stage.handle(again)
    case.lose_redis(lost=False)
    assert await case.run(again) == []


async def test_a_reply_that_has_not_reached_the_broker_is_sent_again(case: Case) -> None:
    """A rebalance, say, has cancelled it on its way, and its record came again to this process."""
    case.at(0)
    case.lose_redis()
    answer = case.answered(offset=1)
    (sent,) = replies(await case.stage.handle(answer))
    assert replies(await case.stage.handle(answer)) == [sent]
    case.lose_redis(lost=False)
    assert replies(await case.stage.handle(answer)) == [sent]


async def test_an_answer_that_went_out_without_redis_stands(case: Case) -> None:
    """A failure that finds Redis back first stores the answer, and tells those who joined the request."""
    joined = ReplyAddress(topic="llm.replies.v1", partition=1, correlation_id=b"joined")
    for origin, address in ((b"first", envelope().reply_to), (b"joined", joined)):
        found = await case.registry.register(
            case.request_id,
            tenant="acme",
            body="b",
            origin=correlation_origin(origin),
            running=True,
            reply_to=address,
        )
    assert found.state is SubmissionState.JOINED
    case.at(0)
    case.lose_redis()
    answer = case.answered(offset=1)
    (sent,) = replies(await case.stage.handle(answer))
    with pytest.raises(StoreUnavailable):
        await case.stage.delivered(answer)
    case.lose_redis(lost=False)
    case.at(61)
    (told,) = await case.run(case.failed("dependency_unavailable", offset=2, written_after_s=61))
    assert (told.status, told.content, told.repeat) == (Status.ANSWERED, sent.content, True)
    state = await case.registry.find(case.request_id)
    assert state is not None
    assert state.reply is not None
    assert (state.state, state.reply.content) == ("settled", sent.content)
    assert await case.run(answer) == []  # the copy that was put aside to note it
