"""Where each request stands, on a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from streams.errors import InvalidRequest, StoreUnavailable
from streams.events import ChatRequested, EmbeddingsRequested, Reply, ReplyAddress, Requested, Status
from streams.redis import connection
from streams.redis.keys import WAITERS, digest
from streams.registry.registry import (
    CancelAnswer,
    Registration,
    RequestRegistry,
    SubmissionState,
    correlation_origin,
    fingerprint,
    request_key,
)

pytestmark = pytest.mark.integration

TTL_S = 3600


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connection.connect(redis_url, timeout_s=30)
    yield client
    await client.aclose()


@pytest.fixture
def registry(redis: Redis) -> RequestRegistry:
    return RequestRegistry(redis, ttl_s=TTL_S)


@pytest.fixture
def request_id() -> str:
    return uuid4().hex


def address(name: str = "a") -> ReplyAddress:
    return ReplyAddress(topic="llm.replies.v1", partition=1, correlation_id=name.encode())


async def register(registry: RequestRegistry, request_id: str, **fields: Any) -> Registration:
    """Register as the guardrail does, as acme's submission `a`."""
    given: dict[str, Any] = {"tenant": "acme", "body": "b1", "origin": "a", "running": True}
    given |= fields
    given.setdefault("reply_to", address(str(given["origin"])))
    return await registry.register(request_id, **given)


def reply(request_id: str, content: str = "Paris") -> Reply:
    return Reply(request_id=request_id, status=Status.ANSWERED, content=content)


async def ttl(redis: Redis, request_id: str) -> int:
    return int(await redis.ttl(request_key(request_id)))


async def test_a_request_from_the_first_sight_to_its_reply(
    registry: RequestRegistry,
    request_id: str,
) -> None:
    """New, the same while it runs, done once its replies are out; a sender who asks again gets the reply."""
    assert await register(registry, request_id) == Registration(SubmissionState.NEW)
    assert await register(registry, request_id) == Registration(SubmissionState.SAME)
    settlement = await registry.begin_settle(reply(request_id), tenant="acme")
    assert (settlement.done, settlement.waiters) == (False, ())
    assert (await register(registry, request_id)).state is SubmissionState.SAME
    assert await registry.finish_settle(request_id)
    assert await register(registry, request_id) == Registration(SubmissionState.DONE, reply(request_id))
    again = await register(registry, request_id, origin="b")
    assert again == Registration(SubmissionState.SETTLED, reply(request_id))


async def test_of_many_at_once_exactly_one_is_new(registry: RequestRegistry, request_id: str) -> None:
    """A hundred senders with one id: one is worked on, and all the others wait for its reply."""
    found = await asyncio.gather(
        *(register(registry, request_id, origin=f"origin-{number}") for number in range(100)),
    )
    standings = [each.state for each in found]
    assert standings.count(SubmissionState.NEW) == 1
    assert standings.count(SubmissionState.JOINED) == 99
    settlement = await registry.begin_settle(reply(request_id), tenant="acme")
    assert len(settlement.waiters) == 99
    winner = standings.index(SubmissionState.NEW)
    assert f"origin-{winner}".encode() not in {waiter.correlation_id for waiter in settlement.waiters}


async def test_a_waiter_joins_once(registry: RequestRegistry, request_id: str) -> None:
    """Its record delivered twice, it still gets one copy, at the address it gave."""
    await register(registry, request_id)
    for _ in range(2):
        assert (await register(registry, request_id, origin="b")).state is SubmissionState.JOINED
    settlement = await registry.begin_settle(reply(request_id), tenant="acme")
    assert settlement.waiters == (address("b"),)


async def test_settling_twice_gives_the_first_reply(registry: RequestRegistry, request_id: str) -> None:
    """A reply sent twice is the same twice; once it is out there is nothing left to do."""
    await register(registry, request_id)
    await registry.begin_settle(reply(request_id, "first"), tenant="acme")
    second = await registry.begin_settle(reply(request_id, "second"), tenant="acme")
    assert (second.done, second.reply.content) == (False, "first")
    await registry.finish_settle(request_id)
    third = await registry.begin_settle(reply(request_id, "third"), tenant="acme")
    assert (third.done, third.reply.content) == (True, "first")


async def test_nobody_joins_while_it_is_settled(registry: RequestRegistry, request_id: str) -> None:
    """The list of waiters is closed: who comes now gets the reply at once, or nobody would send it."""
    await register(registry, request_id)
    await registry.begin_settle(reply(request_id), tenant="acme")
    assert await register(registry, request_id, origin="b") == Registration(
        SubmissionState.SETTLED,
        reply(request_id),
    )


async def test_settlements_and_joins_race_without_a_loss(registry: RequestRegistry) -> None:
    """Whoever joined before the settlement is in it; whoever comes later has the reply in hand."""
    for _ in range(10):
        request_id = uuid4().hex
        await register(registry, request_id)
        joins = asyncio.gather(*(register(registry, request_id, origin=f"j{number}") for number in range(20)))
        settlement = await registry.begin_settle(reply(request_id), tenant="acme")
        found = await joins
        told = {(waiter.correlation_id or b"").decode() for waiter in settlement.waiters}
        for number, each in enumerate(found):
            in_hand = each.state is SubmissionState.SETTLED and each.reply is not None
            assert in_hand != (f"j{number}" in told)


@pytest.mark.parametrize("state", ["running", "pending", "settling", "settled"])
@pytest.mark.parametrize("other", [{"body": "b2"}, {"tenant": "zeta"}], ids=["body", "tenant"])
async def test_the_same_id_for_something_else_is_a_conflict(
    registry: RequestRegistry,
    request_id: str,
    state: str,
    other: dict[str, str],
) -> None:
    """At every stage of its life; another tenant's reply is never handed over."""
    await register(registry, request_id, running=state != "pending")
    if state.startswith("settl"):
        await registry.begin_settle(reply(request_id), tenant="acme")
    if state == "settled":
        await registry.finish_settle(request_id)
    assert await register(registry, request_id, origin="b", **other) == Registration(SubmissionState.CONFLICT)


async def test_another_body_under_the_name_of_the_first_submission_is_an_imposters(
    registry: RequestRegistry, request_id: str
) -> None:
    """Who sends that has read the first one's correlation id: a sender of its own would have another."""
    await register(registry, request_id, origin="a")
    assert await registry.knows(request_id)
    for other in ({"body": "b2"}, {"tenant": "zeta"}):
        found = await register(registry, request_id, origin="a", **other)
        assert found == Registration(SubmissionState.IMPOSTER)
    assert (await register(registry, request_id, origin="a")).state is SubmissionState.SAME
    assert not await registry.knows("of nobody")


async def test_a_reply_without_a_registration_is_its_tenants_alone(
    registry: RequestRegistry,
    request_id: str,
) -> None:
    """Redis lost the registration: the reply is stored all the same, and not for other tenants."""
    await registry.begin_settle(reply(request_id), tenant="acme")
    assert (await register(registry, request_id, tenant="zeta")).state is SubmissionState.CONFLICT
    assert (await register(registry, request_id, origin="b")).reply == reply(request_id)


async def test_a_pending_request_is_taken_over_by_its_record(
    registry: RequestRegistry,
    request_id: str,
) -> None:
    """Ingest registers, the guardrail goes on with it: to the guardrail its own record is no repeat."""
    assert (await register(registry, request_id, running=False)).state is SubmissionState.NEW
    assert (await register(registry, request_id, running=False, origin="b")).state is SubmissionState.PENDING
    assert (await register(registry, request_id)).state is SubmissionState.SAME
    assert (await register(registry, request_id, origin="b")).state is SubmissionState.JOINED


async def test_a_pending_request_is_taken_over_by_whichever_record_is_read_first(
    registry: RequestRegistry,
    request_id: str,
) -> None:
    """The first submission's record may never have been written; its waiter joins when it comes after all."""
    await register(registry, request_id, running=False)
    assert (await register(registry, request_id, origin="b")).state is SubmissionState.NEW
    assert (await register(registry, request_id)).state is SubmissionState.JOINED
    settlement = await registry.begin_settle(reply(request_id), tenant="acme")
    assert settlement.waiters == (address("a"),)


async def test_only_the_pending_submission_itself_can_be_abandoned(
    registry: RequestRegistry,
    request_id: str,
) -> None:
    """What another submission registered, or what runs already, stays."""
    await register(registry, request_id, running=False)
    await registry.abandon(request_id, origin="b")
    assert await registry.find(request_id) is not None
    await registry.abandon(request_id, origin="a")
    assert await registry.find(request_id) is None
    await register(registry, request_id)
    await registry.abandon(request_id, origin="a")
    assert await registry.find(request_id) is not None


async def test_finding_a_request(registry: RequestRegistry, request_id: str) -> None:
    """Its owner, its state, and its reply once there is one."""
    assert await registry.find(request_id) is None
    await register(registry, request_id, running=False)
    found = await registry.find(request_id)
    assert found is not None
    assert (found.tenant, found.state, found.reply) == ("acme", "pending", None)
    assert found.reply_to == address("a")
    assert found.registered_at.tzinfo is not None
    await registry.begin_settle(reply(request_id), tenant="acme")
    settled = await registry.find(request_id)
    assert settled is not None
    assert (settled.state, settled.reply) == ("settling", reply(request_id))
    assert settled.registered_at == found.registered_at


async def test_where_the_reply_goes_is_that_of_the_submission_that_is_worked_on(
    registry: RequestRegistry,
    request_id: str,
) -> None:
    """The first whose record is read; who joins it waits elsewhere, and the deltas are not written there."""
    await register(registry, request_id, running=False)
    await register(registry, request_id, running=False, origin="b")
    for origin, expected in (("b", "b"), ("c", "b"), ("a", "b")):
        await register(registry, request_id, origin=origin)
        found = await registry.find(request_id)
        assert found is not None
        assert found.reply_to == address(expected)


async def test_every_write_renews_the_time_to_live(
    registry: RequestRegistry,
    redis: Redis,
    request_id: str,
) -> None:
    """An entry is kept for a whole period after it was last written; waiters no longer than that."""
    await register(registry, request_id, running=False)
    assert 0 < await ttl(redis, request_id) <= TTL_S
    for step in (
        register(registry, request_id),
        register(registry, request_id, origin="b"),
        registry.begin_settle(reply(request_id), tenant="acme"),
        registry.finish_settle(request_id),
    ):
        await redis.expire(request_key(request_id), 5)
        await step
        assert await ttl(redis, request_id) > TTL_S - 60
        assert await redis.ttl(WAITERS.key(digest(request_id))) <= TTL_S


async def test_finishing_what_has_no_reply_changes_nothing(
    registry: RequestRegistry,
    redis: Redis,
    request_id: str,
) -> None:
    """Or a request would count as settled without a reply, and its repeats would get none."""
    assert not await registry.finish_settle(request_id)
    assert not await redis.exists(request_key(request_id))
    await register(registry, request_id)
    assert not await registry.finish_settle(request_id)
    assert (await register(registry, request_id)).state is SubmissionState.SAME


async def test_without_redis_every_call_says_so(request_id: str) -> None:
    """As a transient fault that callers know how to wait for."""
    client = connection.connect("redis://127.0.0.1:1/0", timeout_s=0.2)
    registry = RequestRegistry(client, ttl_s=60)
    for call in (
        register(registry, request_id),
        registry.find(request_id),
        registry.abandon(request_id, origin="a"),
        registry.begin_settle(reply(request_id), tenant="acme"),
        registry.finish_settle(request_id),
        cancel(registry, request_id),
    ):
        with pytest.raises(StoreUnavailable, match="Redis: "):
            await call
    await client.aclose()


# ── replays ───────────────────────────────────────────────────────────────────────────────────────


def replayed_reply(request_id: str, content: str, replay: int) -> Reply:
    return Reply(request_id=request_id, status=Status.ANSWERED, content=content, replay=replay)


async def settle(registry: RequestRegistry, reply: Reply) -> None:
    await registry.begin_settle(reply, tenant="acme")
    await registry.finish_settle(reply.request_id, replay=reply.replay)


async def test_a_replay_opens_a_settled_request_again(registry: RequestRegistry, request_id: str) -> None:
    """It runs, is joined, and has a reply of its own; the former run's waiters had theirs."""
    await register(registry, request_id)
    await register(registry, request_id, origin="b")
    await settle(registry, reply(request_id, "failed"))
    assert await register(registry, request_id, origin="a:replay:1", replay=1) == Registration(
        SubmissionState.NEW
    )
    assert (await register(registry, request_id, origin="c")).state is SubmissionState.JOINED
    settlement = await registry.begin_settle(replayed_reply(request_id, "Paris", 1), tenant="acme")
    assert (settlement.done, settlement.reply.content) == (False, "Paris")
    assert settlement.waiters == (address("c"),)


async def test_a_replay_delivered_again_is_the_same(registry: RequestRegistry, request_id: str) -> None:
    """It opens the request once."""
    await register(registry, request_id)
    await settle(registry, reply(request_id))
    again = {"origin": "a:replay:1", "replay": 1}
    assert (await register(registry, request_id, **again)).state is SubmissionState.NEW
    assert (await register(registry, request_id, **again)).state is SubmissionState.SAME
    await settle(registry, replayed_reply(request_id, "Paris", 1))
    assert (await register(registry, request_id, **again)).state is SubmissionState.DONE


async def test_a_replay_of_a_later_stage_settles_without_registering(
    registry: RequestRegistry,
    request_id: str,
) -> None:
    """Its outcome is the first that the registry sees of it."""
    await register(registry, request_id)
    await settle(registry, reply(request_id, "failed"))
    for _ in range(2):
        settlement = await registry.begin_settle(replayed_reply(request_id, "Paris", 2), tenant="acme")
        assert (settlement.done, settlement.reply.content) == (False, "Paris")
    assert await registry.finish_settle(request_id, replay=2)
    assert (await registry.begin_settle(replayed_reply(request_id, "x", 2), tenant="acme")).done
    assert (await register(registry, request_id, origin="b")).reply == replayed_reply(request_id, "Paris", 2)


@pytest.mark.parametrize("state", ["running", "settling", "settled"])
async def test_an_outcome_of_a_former_run_comes_too_late(
    registry: RequestRegistry,
    request_id: str,
    state: str,
) -> None:
    """Delivered again after the replay began, it neither replaces the replay's reply nor ends it early."""
    await register(registry, request_id)
    await settle(registry, reply(request_id, "failed"))
    await register(registry, request_id, origin="a:replay:1", replay=1)
    if state != "running":
        await registry.begin_settle(replayed_reply(request_id, "Paris", 1), tenant="acme")
    if state == "settled":
        await registry.finish_settle(request_id, replay=1)
    assert (await registry.begin_settle(reply(request_id, "failed"), tenant="acme")).done
    assert await registry.finish_settle(request_id)
    found = await registry.find(request_id)
    assert found is not None
    assert found.state == state
    settlement = await registry.begin_settle(replayed_reply(request_id, "Paris", 1), tenant="acme")
    assert (settlement.done, settlement.reply.content) == (state == "settled", "Paris")


@pytest.mark.parametrize("settling", [False, True])
async def test_those_who_joined_a_run_that_was_not_settled_wait_for_the_replay(
    registry: RequestRegistry,
    request_id: str,
    settling: bool,
) -> None:
    """Nobody else would send them a reply: what the former run decides comes too late from now on."""
    await register(registry, request_id)
    await register(registry, request_id, origin="b")
    if settling:
        await registry.begin_settle(reply(request_id, "failed"), tenant="acme")
    await register(registry, request_id, origin="a:replay:1", replay=1)
    settlement = await registry.begin_settle(replayed_reply(request_id, "Paris", 1), tenant="acme")
    assert settlement.waiters == (address("b"),)


async def test_a_settlement_after_redis_lost_its_data_knows_its_replay(
    registry: RequestRegistry,
    request_id: str,
) -> None:
    """Delivered again it is done, rather than taken for a newer one."""
    await settle(registry, replayed_reply(request_id, "Paris", 1))
    assert (await registry.begin_settle(replayed_reply(request_id, "Paris", 1), tenant="acme")).done


async def test_a_replay_is_its_tenants_alone(registry: RequestRegistry, request_id: str) -> None:
    """A number in a header of another tenant's record opens nothing."""
    await register(registry, request_id)
    await settle(registry, reply(request_id))
    stranger = await register(registry, request_id, origin="z", tenant="zeta", replay=9)
    assert stranger.state is SubmissionState.CONFLICT
    assert (await register(registry, request_id, origin="b")).reply == reply(request_id)


# ── cancelling ────────────────────────────────────────────────────────────────────────────────────


async def cancel(registry: RequestRegistry, request_id: str, **fields: Any) -> CancelAnswer:
    given: dict[str, Any] = {"tenant": "acme", "reason": "cancelled_by_sender"}
    return await registry.cancel(request_id, **(given | fields))


@pytest.mark.parametrize("running", [False, True])
async def test_a_request_that_is_cancelled_says_so_to_the_stages(
    registry: RequestRegistry,
    redis: Redis,
    request_id: str,
    running: bool,
) -> None:
    """Queued or running; asked twice, the first reason stays."""
    await register(registry, request_id, running=running)
    assert await cancel(registry, request_id) is CancelAnswer.CANCELLING
    assert await cancel(registry, request_id, reason="another") is CancelAnswer.CANCELLING
    same = await register(registry, request_id)
    assert (same.state, same.cancelled) == (SubmissionState.SAME, "cancelled_by_sender")
    found = await registry.find(request_id)
    assert found is not None
    assert (found.state, found.cancelled) == ("running", "cancelled_by_sender")
    assert 0 < await ttl(redis, request_id) <= TTL_S


async def test_a_queued_request_stays_cancelled_whichever_record_is_read_first(
    registry: RequestRegistry,
    request_id: str,
) -> None:
    """Sent twice before it was read, and cancelled."""
    await register(registry, request_id, running=False)
    await register(registry, request_id, running=False, origin="b")
    await cancel(registry, request_id)
    taken = await register(registry, request_id, origin="b")
    assert (taken.state, taken.cancelled) == (SubmissionState.NEW, "cancelled_by_sender")


@pytest.mark.parametrize("finish", [False, True])
async def test_it_is_too_late_once_there_is_a_reply(
    registry: RequestRegistry,
    request_id: str,
    finish: bool,
) -> None:
    """While its replies are sent, and after."""
    await register(registry, request_id)
    await registry.begin_settle(reply(request_id), tenant="acme")
    if finish:
        await registry.finish_settle(request_id)
    assert await cancel(registry, request_id) is CancelAnswer.SETTLED
    found = await registry.find(request_id)
    assert found is not None
    assert found.cancelled is None


async def test_only_its_tenant_can_cancel_it(
    registry: RequestRegistry,
    redis: Redis,
    request_id: str,
) -> None:
    """To others it is unknown; an attempt leaves nothing behind."""
    assert await cancel(registry, request_id) is CancelAnswer.UNKNOWN
    assert not await redis.exists(request_key(request_id))
    await register(registry, request_id)
    assert await cancel(registry, request_id, tenant="zeta") is CancelAnswer.UNKNOWN
    assert (await register(registry, request_id)).cancelled is None


@pytest.mark.parametrize("running", [False, True])
async def test_who_leaves_takes_nobody_along(
    registry: RequestRegistry,
    request_id: str,
    running: bool,
) -> None:
    """Alone it is cancelled; where the same request was sent again it goes on. Its sender can end it."""
    alone = uuid4().hex
    await register(registry, alone, running=running)
    assert await cancel(registry, alone, only_alone=True) is CancelAnswer.CANCELLING
    await register(registry, request_id, running=running)
    await register(registry, request_id, running=False, origin="b")
    assert await cancel(registry, request_id, only_alone=True) is CancelAnswer.SHARED
    assert (await register(registry, request_id)).cancelled is None
    assert await cancel(registry, request_id) is CancelAnswer.CANCELLING


@pytest.mark.parametrize("registered", [False, True])
async def test_a_replay_is_not_cancelled(
    registry: RequestRegistry,
    request_id: str,
    registered: bool,
) -> None:
    """What asked to end the former run did not ask it of this one."""
    await register(registry, request_id)
    await cancel(registry, request_id)
    if registered:
        opened = await register(registry, request_id, origin="a:replay:1", replay=1)
        assert opened == Registration(SubmissionState.NEW)
    await registry.begin_settle(replayed_reply(request_id, "Paris", 1), tenant="acme")
    found = await registry.find(request_id)
    assert found is not None
    assert found.cancelled is None


def test_a_fingerprint_is_of_what_is_asked() -> None:
    """Who sent it when, and how they want the answer delivered, may differ from one try to the next."""
    request = ChatRequested(user_id="u", query="q")
    same = ChatRequested(user_id="u", query="q", request_id="r", tier="gold", stream=True, deadline_ms=5)
    assert fingerprint(request, "acme") == fingerprint(same, "acme")
    others = [
        fingerprint(request, "zeta"),
        *(
            fingerprint(other, "acme")
            for other in (
                ChatRequested(user_id="v", query="q"),
                ChatRequested(user_id="u", query="Q"),
                ChatRequested(user_id="u", query="q", temperature=0.1),
                ChatRequested(user_id="u", query="q", model="gpt-4o"),
                ChatRequested(user_id="u", query="q", session_id="s"),
            )
        ),
    ]
    assert len({fingerprint(request, "acme"), *others}) == 1 + len(others)


def test_a_fingerprint_of_embeddings_is_of_what_is_asked() -> None:
    """As for chat; and the same id never stands for both."""

    def asked(*inputs: str, **fields: Any) -> str:
        given: dict[str, Any] = {"user_id": "u", "inputs": inputs, "model": "m"}
        return fingerprint(EmbeddingsRequested(**(given | fields)), "acme")

    assert asked("a", "b") == asked(
        "a", "b", request_id="r", tier="gold", deadline_ms=5, on_disconnect="cancel"
    )
    chat: Requested = ChatRequested(user_id="u", model="m")
    others = {
        asked("a", "b", dimensions=2),
        asked("b", "a"),
        asked("a"),
        asked("a", "b", model="n"),
        asked("a", "b", user_id="v"),
        fingerprint(chat, "acme"),
    }
    assert len(others | {asked("a", "b")}) == 7


async def test_so_many_wait_for_one_reply_and_no_more(
    registry: RequestRegistry, redis: Redis, request_id: str
) -> None:
    """The next is refused; who waits already goes on waiting, however often it is delivered again."""
    await register(registry, request_id)
    for start in range(0, 1_000, 25):
        joined = await asyncio.gather(
            *(register(registry, request_id, origin=f"j{number}") for number in range(start, start + 25))
        )
        assert {each.state for each in joined} == {SubmissionState.JOINED}
    assert (await register(registry, request_id, origin="late")).state is SubmissionState.CROWDED
    assert (await register(registry, request_id, origin="j7")).state is SubmissionState.JOINED
    assert await redis.scard(WAITERS.key(digest(request_id))) == 1_000
    assert len((await registry.begin_settle(reply(request_id), tenant="acme")).waiters) == 1_000
    assert (await register(registry, request_id, origin="late")).state is SubmissionState.SETTLED


async def test_who_has_been_told_is_forgotten(
    registry: RequestRegistry, redis: Redis, request_id: str
) -> None:
    """Until their replies are out they are told again, after a crash in between, say."""
    await register(registry, request_id)
    await register(registry, request_id, origin="b")
    for _ in range(2):
        assert (await registry.begin_settle(reply(request_id), tenant="acme")).waiters == (address("b"),)
    await registry.finish_settle(request_id)
    assert not await redis.exists(WAITERS.key(digest(request_id)))


@pytest.mark.parametrize("fields", [{"reply_to": address("c" * 2_000)}, {"tenant": "t" * 1_025}])
async def test_names_that_are_too_long_are_refused(
    registry: RequestRegistry, redis: Redis, request_id: str, fields: dict[str, Any]
) -> None:
    """They are the only texts of senders that an entry holds before its reply; nothing is left of them."""
    with pytest.raises(InvalidRequest, match="shorter correlation id"):
        await register(registry, request_id, **fields)
    assert not await redis.exists(request_key(request_id))


async def test_a_refused_repeat_is_no_fault_of_the_request(
    registry: RequestRegistry, request_id: str
) -> None:
    """What cannot be kept of it is its own affair: an error would end the request that has the id."""
    await register(registry, request_id)
    repeat = await register(registry, request_id, origin="b", reply_to=address("c" * 2_000))
    assert repeat.state is SubmissionState.CROWDED
    assert (await registry.begin_settle(reply(request_id), tenant="acme")).waiters == ()


async def test_an_id_of_megabytes_costs_what_any_other_costs(registry: RequestRegistry, redis: Redis) -> None:
    """Nor does a submission's name; the request is found by its id all the same."""
    costs = []
    for request_id in (uuid4().hex, uuid4().hex * 200_000):
        origin = correlation_origin(request_id.encode())
        await register(registry, request_id, origin=origin, reply_to=address())
        assert await registry.find(request_id) is not None
        assert (await register(registry, request_id, origin=origin)).state is SubmissionState.SAME
        costs.append(await redis.memory_usage(request_key(request_id), samples=0))
    assert costs[0] == costs[1]
