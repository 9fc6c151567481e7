"""The journal's rules, on a real Redis."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import msgspec
import pytest
from redis.asyncio import Redis

from agents.stores.journal import Journal, journal_key
from agents.stores.journal_entries import (
    AlreadySent,
    BegunCall,
    Cancelled,
    Charge,
    Claim,
    Claimed,
    Fenced,
    HeldElsewhere,
    JournaledCalls,
    Lease,
    LeaseState,
    ResultStored,
)
from streams.errors import SpendPending, StoreUnavailable
from streams.events import LlmCall, Reply, ReplyAddress, Status, Usage
from streams.redis import connection
from streams.registry.registry import RequestRegistry

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
DEADLINE = NOW + timedelta(seconds=60)
A, B = "llm.misses.v1:0:7", "llm.misses.v1:0:9"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connection.connect(redis_url, timeout_s=30)
    yield client
    await client.aclose()


@pytest.fixture
def journal(redis: Redis) -> Journal:
    return Journal(redis, ttl_s=3600)


@pytest.fixture
def request_id() -> str:
    return uuid4().hex


async def claim(
    journal: Journal,
    request_id: str,
    record: str = A,
    *,
    instance: str = "worker-0",
    at: datetime = NOW,
    replay: int = 0,
) -> Claim:
    return await journal.claim(
        request_id, record=record, instance=instance, deadline_at=DEADLINE, now=at, replay=replay
    )


async def look(journal: Journal, lease: Lease) -> LeaseState:
    (seen,) = await journal.lease_states([lease])
    return seen


async def claimed(
    journal: Journal, request_id: str, record: str = A, *, at: datetime = NOW, replay: int = 0
) -> Claimed:
    answer = await claim(journal, request_id, record, at=at, replay=replay)
    assert isinstance(answer, Claimed)
    return answer


def call(number: int = 1) -> BegunCall:
    return BegunCall(
        call_id=f"call-{number}",
        provider="openai",
        model="gpt-4o",
        started_at=NOW,
        input_tokens=42,
        input_charge=Charge(cost_usd=Decimal("0.000105"), price_version="model:gpt-4o@3", long_context=False),
    )


def booked(number: int) -> LlmCall:
    return LlmCall(
        call_id=f"call-{number}",
        attempt=number,
        provider="openai",
        request_model="gpt-4o",
        started_at=NOW,
        duration_us=5,
        usage=Usage(input_tokens=1),
        cost_usd=Decimal("0.000000123"),
        price_version="v",
        error="server_error",
    )


async def test_the_first_claim_is_attempt_one(journal: Journal, request_id: str) -> None:
    """Nobody had it: nothing is lost, nothing known."""
    first = await claimed(journal, request_id)
    assert (first.lease.attempt, first.lost_calls, first.known_calls) == (1, (), ())


async def test_another_record_is_held_off(journal: Journal, request_id: str) -> None:
    """A repeat at another offset learns who has the request."""
    await claimed(journal, request_id)
    assert await claim(journal, request_id, B) == HeldElsewhere(A)


async def test_the_same_record_takes_over_at_once_with_the_lost_calls(
    journal: Journal, request_id: str
) -> None:
    """Ended calls are handed over as booked, the others as lost; numbers go on."""
    first = await claimed(journal, request_id)
    assert await journal.begin_call(first.lease, call(1)) == 1
    await journal.end_call(first.lease, booked(1))
    assert await journal.begin_call(first.lease, call(2)) == 2
    second = await claimed(journal, request_id)
    assert second.lease.attempt == 2
    assert second.known_calls == (booked(1),)
    assert [(lost.number, lost.call) for lost in second.lost_calls] == [(2, call(2))]
    assert await journal.begin_call(second.lease, call(3)) == 3


async def test_calls_lost_by_two_workers_are_both_handed_over(journal: Journal, request_id: str) -> None:
    """A second crash does not make the first one's spend disappear."""
    for number in (1, 2):
        taken = await claimed(journal, request_id)
        await journal.begin_call(taken.lease, call(number))
    third = await claimed(journal, request_id)
    assert [lost.call.call_id for lost in third.lost_calls] == ["call-1", "call-2"]


async def test_a_zombie_is_fenced_at_every_step(journal: Journal, request_id: str) -> None:
    """After a take-over the former holder can neither call nor store nor close."""
    zombie = await claimed(journal, request_id)
    holder = await claimed(journal, request_id)
    with pytest.raises(Fenced):
        await journal.begin_call(zombie.lease, call())
    assert not (await look(journal, zombie.lease)).held
    assert not await journal.finish(zombie.lease, b"stale")
    assert (await look(journal, holder.lease)).wanted
    assert await journal.finish(holder.lease, b"result")
    await journal.sent(zombie.lease)
    assert isinstance(await claim(journal, request_id), ResultStored)


async def test_a_result_not_sent_is_handed_to_whoever_comes(journal: Journal, request_id: str) -> None:
    """The same record and another one get it alike; nobody calls again."""
    first = await claimed(journal, request_id)
    assert await journal.finish(first.lease, b"result")
    for record in (A, B, A):
        answer = await claim(journal, request_id, record)
        assert isinstance(answer, ResultStored)
        assert answer.result == b"result"


async def test_a_sent_result_is_forgotten_and_its_repeats_are_dropped(
    journal: Journal, redis: Redis, request_id: str
) -> None:
    """What is left is a mark of some bytes, which expires."""
    first = await claimed(journal, request_id)
    await journal.begin_call(first.lease, call())
    await journal.finish(first.lease, b"result" * 1000)
    await journal.sent(first.lease)
    assert await claim(journal, request_id, A) == AlreadySent()
    assert await claim(journal, request_id, B) == AlreadySent()
    left = await redis.hgetall(journal_key(request_id))
    assert set(left) == {b"record", b"attempt", b"sent"}
    assert 0 < await redis.ttl(journal_key(request_id)) <= 3600


async def test_a_later_run_starts_anew_and_an_earlier_one_comes_too_late(
    journal: Journal, request_id: str
) -> None:
    """What an operator replays is worked on, though the request has its reply; copies of before are not."""
    first = await claimed(journal, request_id)
    await journal.begin_call(first.lease, call())
    await journal.finish(first.lease, b"result")
    await journal.sent(first.lease)
    again = await claim(journal, request_id, A, replay=1)
    assert isinstance(again, Claimed)
    assert (again.known_calls, again.lost_calls) == ((), ())
    assert await claim(journal, request_id, A) == AlreadySent()
    assert await claim(journal, request_id, B) == AlreadySent()
    assert isinstance(await claim(journal, request_id, A, replay=1), Claimed)
    await journal.finish(again.lease, b"stale")  # fenced by the redelivery
    current = await claimed(journal, request_id, replay=1)
    await journal.finish(current.lease, b"answer")
    await journal.sent(current.lease)
    assert await claim(journal, request_id, A, replay=1) == AlreadySent()
    assert await claim(journal, request_id, A) == AlreadySent()


async def test_a_later_run_that_meets_a_holder_takes_nothing_from_it(
    journal: Journal, request_id: str
) -> None:
    """The holder's record comes again after a crash, and is worked on: it was not overtaken."""
    await claimed(journal, request_id)
    assert await claim(journal, request_id, B, replay=1) == HeldElsewhere(A)
    assert isinstance(await claim(journal, request_id, A), Claimed)


async def test_whoever_sends_a_result_again_closes_the_entry(journal: Journal, request_id: str) -> None:
    """A replay at another offset that sent the result has the right to say so."""
    first = await claimed(journal, request_id)
    await journal.finish(first.lease, b"result")
    replay = await claim(journal, request_id, B)
    assert isinstance(replay, ResultStored)
    await journal.sent(replay.lease)
    assert await claim(journal, request_id, A) == AlreadySent()


async def test_after_the_deadline_another_record_may_take_over(journal: Journal, request_id: str) -> None:
    """The holder can do nothing any more, and its record may be gone: the request must not hang on it."""
    first = await claimed(journal, request_id)
    await journal.begin_call(first.lease, call())
    later = await claimed(journal, request_id, B, at=DEADLINE)
    assert later.lease.attempt == 2
    assert len(later.lost_calls) == 1
    assert not await journal.finish(first.lease, b"late")


async def test_a_worker_goes_on_where_redis_lost_its_data(
    journal: Journal, redis: Redis, request_id: str
) -> None:
    """An entry that is missing counts as one's own; numbers of calls still rise."""
    first = await claimed(journal, request_id)
    await journal.begin_call(first.lease, call(1))
    await redis.delete(journal_key(request_id))
    assert await journal.begin_call(first.lease, call(2), after=1) == 2
    assert await claim(journal, request_id, B) == HeldElsewhere(A)
    await redis.delete(journal_key(request_id))
    await journal.end_call(first.lease, booked(2))
    assert (await look(journal, first.lease)).wanted
    assert await journal.finish(first.lease, b"result")
    assert isinstance(await claim(journal, request_id), ResultStored)


async def test_entries_expire(redis: Redis, request_id: str) -> None:
    """Every step sets the entry's time to live anew."""
    journal = Journal(redis, ttl_s=100)
    first = await claimed(journal, request_id)
    key = journal_key(request_id)
    for step in (journal.begin_call(first.lease, call()), journal.finish(first.lease, b"x")):
        await redis.persist(key)
        await step
        assert 0 < await redis.ttl(key) <= 100


async def test_a_redis_that_does_not_answer_is_named(request_id: str) -> None:
    """The fault says what failed, and that it may pass."""
    client = connection.connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    with pytest.raises(StoreUnavailable, match="claiming a request in the journal failed"):
        await claim(Journal(client, ttl_s=60), request_id)
    await client.aclose()


# ── requests that are cancelled ───────────────────────────────────────────────────────────────────


@pytest.fixture
def registry(redis: Redis) -> RequestRegistry:
    return RequestRegistry(redis, ttl_s=3600)


async def registered(registry: RequestRegistry, request_id: str, *, replay: int = 0) -> None:
    """Register the request as the guardrail does."""
    await registry.register(
        request_id,
        tenant="acme",
        body="b",
        origin=f"o-{replay}",
        running=True,
        reply_to=ReplyAddress(topic="llm.replies.v1"),
        replay=replay,
    )


async def cancelled(registry: RequestRegistry, request_id: str, *, replay: int = 0) -> None:
    """Register the request, and cancel it."""
    await registered(registry, request_id, replay=replay)
    await registry.cancel(request_id, tenant="acme", reason="cancelled_by_sender")


async def test_no_call_is_noted_for_a_cancelled_request(
    journal: Journal, registry: RequestRegistry, request_id: str
) -> None:
    """Nothing is begun; a former call stays known."""
    first = await claimed(journal, request_id)
    assert await journal.begin_call(first.lease, call(1)) == 1
    assert await look(journal, first.lease) == LeaseState(held=True)
    await cancelled(registry, request_id)
    with pytest.raises(Cancelled, match="cancelled_by_sender"):
        await journal.begin_call(first.lease, call(2))
    assert await look(journal, first.lease) == LeaseState(held=True, cancelled="cancelled_by_sender")
    assert len((await journal.calls(request_id, record=A)).lost_calls) == 1


async def test_a_zombie_is_fenced_rather_than_cancelled(
    journal: Journal, registry: RequestRegistry, request_id: str
) -> None:
    """The holder ends the request; two would end it twice."""
    zombie = await claimed(journal, request_id)
    await claimed(journal, request_id)
    await cancelled(registry, request_id)
    with pytest.raises(Fenced):
        await journal.begin_call(zombie.lease, call(1))
    assert not (await look(journal, zombie.lease)).held


async def test_a_cancelled_request_can_be_stored(
    journal: Journal, registry: RequestRegistry, request_id: str
) -> None:
    """The answer that is there first, or the cancelled outcome itself."""
    first = await claimed(journal, request_id)
    await cancelled(registry, request_id)
    assert await journal.finish(first.lease, b"answer")


async def test_a_replay_is_not_cancelled_by_what_cancelled_a_former_run(
    journal: Journal, registry: RequestRegistry, request_id: str
) -> None:
    """An operator replays the record of a later stage: the registry still has the former run's entry."""
    await cancelled(registry, request_id)
    claim = await journal.claim(request_id, record=A, instance="w", deadline_at=DEADLINE, now=NOW, replay=1)
    assert isinstance(claim, Claimed)
    assert (await look(journal, claim.lease)).wanted
    assert await journal.begin_call(claim.lease, call(1)) == 1
    await cancelled(registry, request_id, replay=1)
    assert not (await look(journal, claim.lease)).wanted


async def test_many_claims_are_looked_up_at_once(
    journal: Journal, registry: RequestRegistry, request_id: str
) -> None:
    """Each has its own answer, however many there are; one that was lost with Redis's data counts as held."""
    standing = (await claimed(journal, request_id)).lease
    zombie = (await claimed(journal, f"{request_id}-z")).lease
    await claimed(journal, f"{request_id}-z")
    stopped = (await claimed(journal, f"{request_id}-c")).lease
    await cancelled(registry, f"{request_id}-c")
    lost = msgspec.structs.replace(standing, request_id=f"{request_id}-unknown")
    seen = await journal.lease_states([standing, zombie, stopped, lost] * 120)
    expected = [
        LeaseState(held=True),
        LeaseState(held=False),
        LeaseState(held=True, cancelled="cancelled_by_sender"),
        LeaseState(held=True),
    ]
    assert seen == expected * 120
    assert await journal.lease_states([]) == []


async def test_noted_calls_are_those_of_the_holding_record(journal: Journal, request_id: str) -> None:
    """As lost or as booked; another record has no business with them."""
    assert await journal.calls(request_id, record=A) == JournaledCalls()
    first = await claimed(journal, request_id)
    for number in (1, 2):
        await journal.begin_call(first.lease, call(number))
    await journal.end_call(first.lease, booked(1))
    noted = await journal.calls(request_id, record=A)
    assert noted.known_calls == (booked(1),)
    assert [lost.number for lost in noted.lost_calls] == [2]
    assert await journal.calls(request_id, record=B) == JournaledCalls()


def reply(request_id: str, content: str = "", *, replay: int = 0) -> Reply:
    return Reply(request_id=request_id, status=Status.FAILED, content=content, replay=replay)


async def test_who_knows_of_no_call_does_not_settle_a_request_that_has_one(
    journal: Journal, registry: RequestRegistry, request_id: str
) -> None:
    """A stage before the calls may end a request whose record it was given again: its spend would be lost."""
    await registered(registry, request_id)
    lease = (await claimed(journal, request_id)).lease
    await journal.begin_call(lease, call(1))
    for _ in range(2):
        with pytest.raises(SpendPending):
            await registry.begin_settle(reply(request_id, "too late"), tenant="acme", knows_spend=False)
    settlement = await registry.begin_settle(reply(request_id, "with its calls"), tenant="acme")
    assert settlement.reply.content == "with its calls"
    second = await registry.begin_settle(reply(request_id, "too late"), tenant="acme", knows_spend=False)
    assert second.reply.content == "with its calls"


async def test_no_call_is_begun_for_a_request_that_has_its_reply(
    journal: Journal, registry: RequestRegistry, request_id: str
) -> None:
    """Whoever settled it without a call has made sure that there is none; a replay opens it again."""
    await registered(registry, request_id)
    lease = (await claimed(journal, request_id)).lease
    await registry.begin_settle(reply(request_id), tenant="acme", knows_spend=False)
    with pytest.raises(Fenced, match="no longer wanted"):
        await journal.begin_call(lease, call(1))
    replayed = msgspec.structs.replace(lease, replay=1)
    assert await journal.begin_call(replayed, call(1)) == 1
    with pytest.raises(SpendPending):
        await registry.begin_settle(reply(request_id, replay=1), tenant="acme", knows_spend=False)


async def test_what_a_former_run_has_spent_is_booked_already(
    journal: Journal, registry: RequestRegistry, request_id: str
) -> None:
    """Only the calls of the run itself lease its outcome up."""
    await registered(registry, request_id)
    lease = (await claimed(journal, request_id)).lease
    await journal.begin_call(lease, call(1))
    await registry.begin_settle(reply(request_id), tenant="acme")
    await registry.finish_settle(request_id)
    settlement = await registry.begin_settle(
        reply(request_id, "replayed", replay=1), tenant="acme", knows_spend=False
    )
    assert settlement.reply.content == "replayed"
