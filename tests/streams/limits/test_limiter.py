"""The limiter on a real Redis: exact at the boundary, for any interleaving, and all limits or none."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis.asyncio import Redis

from streams.control.specs import Bounds, LimitSpec
from streams.errors import StoreUnavailable
from streams.limits.limiter import Known, LimitExceeded, RateLimiter, Standing, Take, Taken
from streams.limits.subjects import LimitKind, LimitSubject, Requester, subjects_of
from streams.redis import connection
from streams.redis.keys import REQUEST, digest

pytestmark = pytest.mark.integration

MINUTE_US = 60_000_000
#: How much longer something counts where times are rounded up.
STEP_US = 100_000
START_US = 1_800_000_000_000_000


class Clock:
    """Microseconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = START_US

    def __call__(self) -> int:
        return self.now


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connection.connect(redis_url, timeout_s=30)
    yield client
    await client.aclose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(redis: Redis, clock: Clock) -> RateLimiter:
    return RateLimiter(redis, clock=clock)


def user(**bounds: int) -> LimitSubject:
    """A user whom nobody has counted."""
    who = Requester(key="key_1", tenant="acme", tier="free", user=uuid4().hex)
    (subject,) = subjects_of(LimitSpec(per_user=Bounds(**bounds)), who)
    return subject


async def take(
    limiter: RateLimiter,
    *subjects: LimitSubject,
    tokens: int = 0,
    requests: int = 1,
    request_id: str = "",
    attempt: str = "",
    permit_s: float = 0.0,
) -> Taken | Known | LimitExceeded:
    request_id = request_id or uuid4().hex
    return await limiter.take(
        request_id,
        [Take(subject=each, requests=requests, tokens=tokens) for each in subjects],
        attempt=attempt or uuid4().hex,
        entry=REQUEST.key(digest(request_id)),
        permit_s=permit_s,
    )


async def taken(limiter: RateLimiter, subject: LimitSubject, **given: int) -> Taken:
    found = await take(limiter, subject, **given)
    assert isinstance(found, Taken)
    return found


async def standing(limiter: RateLimiter, subject: LimitSubject) -> Standing:
    (found,) = await limiter.look([subject])
    return found


async def test_a_thousand_at_once_over_two_replicas(redis_url: str) -> None:
    """Room for ten lets exactly ten pass, by Redis's own clock; the others are told when to come back."""
    clients = [connection.connect(redis_url, timeout_s=30) for _ in range(2)]
    try:
        subject = user(requests_per_minute=10)
        replicas = [RateLimiter(client) for client in clients]
        found = await asyncio.gather(*(take(replicas[at % 2], subject) for at in range(1_000)))
        assert [isinstance(each, Taken) for each in found].count(True) == 10
        refused = [each for each in found if isinstance(each, LimitExceeded)]
        assert len(refused) == 990
        assert all(each.wait_s is not None and 50 < each.wait_s <= 60 for each in refused)
        assert (await standing(replicas[0], subject)).requests == 10
    finally:
        for client in clients:
            await client.aclose()


async def test_permits_at_once_over_two_replicas(redis_url: str) -> None:
    """Room for ten at a time: ten hold a permit, and each that ends makes room for one."""
    clients = [connection.connect(redis_url, timeout_s=30) for _ in range(2)]
    try:
        subject = user(concurrent_requests=10)
        replicas = [RateLimiter(client) for client in clients]
        found = await asyncio.gather(*(take(replicas[at % 2], subject, permit_s=60) for at in range(200)))
        held = [each for each in found if isinstance(each, Taken)]
        assert len(held) == 10
        for each in held[:3]:
            await replicas[1].finish(each, tokens=None)
        again = await asyncio.gather(*(take(replicas[at % 2], subject, permit_s=60) for at in range(200)))
        assert [isinstance(each, Taken) for each in again].count(True) == 3
    finally:
        for client in clients:
            await client.aclose()


async def test_tokens_at_once(limiter: RateLimiter) -> None:
    """A hundred a minute, five at once of 663 together: one passes at most (litellm 18730)."""
    subject = user(tokens_per_minute=100)
    asked = (90, 80, 70, 60, 363)
    found = await asyncio.gather(*(take(limiter, subject, tokens=each) for each in asked))
    assert [isinstance(each, Taken) for each in found].count(True) == 1
    assert (await standing(limiter, subject)).tokens <= 100


async def test_room_comes_back_to_the_microsecond(limiter: RateLimiter, clock: Clock) -> None:
    """What was taken counts for exactly a minute, and the refusal says exactly how long that still is."""
    subject = user(requests_per_minute=2)
    await taken(limiter, subject)
    clock.now += 7_000_001
    await taken(limiter, subject)
    clock.now += 1_000_000
    refused = await take(limiter, subject)
    assert isinstance(refused, LimitExceeded)
    assert refused.wait_s == pytest.approx(51.999999, abs=1e-9)
    clock.now = START_US + MINUTE_US - 1
    assert isinstance(await take(limiter, subject), LimitExceeded)
    clock.now += 1
    await taken(limiter, subject)
    assert (await standing(limiter, subject)).whole_in_s == 60


async def test_all_limits_or_none(limiter: RateLimiter) -> None:
    """Where one limit refuses, nothing is taken of the others."""
    wide, narrow = user(requests_per_minute=100), user(tokens_per_minute=50)
    refused = await take(limiter, wide, narrow, tokens=40)
    assert isinstance(refused, Taken)
    refused = await take(limiter, wide, narrow, tokens=40)
    assert isinstance(refused, LimitExceeded)
    assert (refused.over.subject, refused.kind) == (narrow, LimitKind.TOKENS)
    assert [each.requests for each in await limiter.look([wide, narrow])] == [1, 1]
    assert [each.tokens for each in await limiter.look([wide, narrow])] == [40, 40]


async def test_the_longest_wait_is_named(limiter: RateLimiter, clock: Clock) -> None:
    """Of several limits that refuse, the one that has room last."""
    early, late = user(requests_per_minute=1), user(requests_per_minute=1)
    await taken(limiter, early)
    clock.now += 10_000_000
    await taken(limiter, late)
    refused = await take(limiter, late, early)
    assert isinstance(refused, LimitExceeded)
    assert (refused.over.subject, refused.wait_s) == (late, 60)


async def test_what_can_never_pass(limiter: RateLimiter) -> None:
    """A request that alone exceeds the limit is told so: no wait helps."""
    refused = await take(limiter, user(tokens_per_minute=50), tokens=51)
    assert isinstance(refused, LimitExceeded)
    assert (refused.kind, refused.wait_s, refused.take.tokens) == (LimitKind.TOKENS, None, 51)


async def test_a_wait_for_several(limiter: RateLimiter, clock: Clock) -> None:
    """The wait for many tokens is that for as many of the oldest as make room, beyond one page of times."""
    subject = user(requests_per_minute=200, tokens_per_minute=120)
    for _ in range(120):
        await taken(limiter, subject, tokens=1)
        clock.now += 1_000
    refused = await take(limiter, subject, tokens=70)
    assert isinstance(refused, LimitExceeded)
    assert refused.wait_s == pytest.approx(60 - 0.120 + 0.069, abs=1e-6)


async def test_a_repeat_takes_nothing(limiter: RateLimiter, redis: Redis) -> None:
    """Neither while the first attempt is being registered nor once the registry knows it."""
    subject = user(requests_per_minute=1, concurrent_requests=1)
    first = await take(limiter, subject, request_id="order-7" + subject.name, permit_s=60)
    assert isinstance(first, Taken)
    again = await take(limiter, subject, request_id="order-7" + subject.name, permit_s=60)
    assert isinstance(again, Known)
    assert (again.standings[0].requests, again.standings[0].concurrent) == (1, 1)
    registered = uuid4().hex
    await redis.hset(REQUEST.key(digest(registered)), "state", "settled")
    assert isinstance(await take(limiter, subject, request_id=registered), Known)
    assert isinstance(await take(limiter, subject), LimitExceeded)


async def test_an_attempt_may_be_made_twice(limiter: RateLimiter, clock: Clock) -> None:
    """Its answer may have been lost: made again, it has taken once, and at the time of the first."""
    subject = user(requests_per_minute=5, tokens_per_minute=100, concurrent_requests=5)
    given = {"tokens": 10, "request_id": uuid4().hex, "attempt": "a", "permit_s": 60.0}
    first = await take(limiter, subject, **given)  # type: ignore[arg-type]
    clock.now += 50_000
    second = await take(limiter, subject, **given)  # type: ignore[arg-type]
    assert isinstance(first, Taken)
    assert isinstance(second, Taken)
    assert (second.times, second.request) == (first.times, first.request)
    assert (await standing(limiter, subject)).requests == 1
    await limiter.finish(second, tokens=4)
    left = await standing(limiter, subject)
    assert (left.requests, left.tokens, left.concurrent) == (1, 4, 0)


async def test_tokens_are_settled(limiter: RateLimiter, clock: Clock) -> None:
    """What was used counts in place of what was reserved, until the minute of the reservation is over."""
    subject = user(tokens_per_minute=100)
    first = await taken(limiter, subject, tokens=90)
    await limiter.finish(first, tokens=30)
    second = await taken(limiter, subject, tokens=70)
    await limiter.finish(second, tokens=150)  # more than was expected counts, too
    assert (await standing(limiter, subject)).tokens == 180
    assert isinstance(await take(limiter, subject, tokens=1), LimitExceeded)
    clock.now += MINUTE_US + STEP_US
    assert (await standing(limiter, subject)).tokens == 0
    await limiter.finish(second, tokens=0)  # too late: there is nothing to settle any more
    assert (await standing(limiter, subject)).tokens == 0
    await taken(limiter, subject, tokens=100)


async def test_a_permit_ends_by_itself(limiter: RateLimiter, clock: Clock, redis: Redis) -> None:
    """The process that held it may have died."""
    subject = user(concurrent_requests=1)
    assert isinstance(await take(limiter, subject, permit_s=5), Taken)
    clock.now += 4_999_999
    assert isinstance(await take(limiter, subject, permit_s=5), LimitExceeded)
    clock.now += 1
    assert isinstance(await take(limiter, subject, permit_s=90), Taken)
    assert await redis.zcard(subject.permits) == 1
    assert 60_000 < await redis.pttl(subject.permits) <= 90_000


async def test_a_batch_takes_as_a_whole(limiter: RateLimiter) -> None:
    """Ten lines where six are left: none of them."""
    subject = user(requests_per_minute=10)
    await taken(limiter, subject, requests=4)
    assert isinstance(await take(limiter, subject, requests=7), LimitExceeded)
    await taken(limiter, subject, requests=6)


async def test_memory_is_bounded_and_ends(limiter: RateLimiter, clock: Clock, redis: Redis) -> None:
    """A hundred thousand a minute are some six hundred times; everything expires within 61 seconds."""
    subject = user(requests_per_minute=100_000, tokens_per_minute=100_000_000)
    for _ in range(3_000):
        clock.now += 30_000  # 90 s in all
        await taken(limiter, subject, tokens=7)
    assert await redis.zcard(subject.times) <= 602
    assert await redis.hlen(subject.counts) <= 2 * 602 + 2
    found = await standing(limiter, subject)
    assert found.requests in range(2_000, 2_005)
    assert found.tokens == 7 * found.requests
    assert int(await redis.memory_usage(subject.times) or 0) < 100_000
    for key in (subject.times, subject.counts):
        assert 0 < await redis.pttl(key) <= 61_000


async def test_redis_away(limiter: RateLimiter) -> None:
    """Nothing passes, and it is the same fault as the registry's."""
    away = connection.connect("redis://127.0.0.1:1/0", timeout_s=0.5)
    with pytest.raises(StoreUnavailable):
        await take(RateLimiter(away), user(requests_per_minute=1))
    await away.aclose()


Step = tuple[int, int]
_STEPS = st.lists(
    st.tuples(
        st.one_of(
            st.integers(0, 3),
            st.integers(0, 30_000_000),
            st.sampled_from([MINUTE_US, MINUTE_US - 1, MINUTE_US + 1, STEP_US, STEP_US - 1]),
        ),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=60,
)


def in_window(log: Sequence[Step], now: int, window_us: int) -> int:
    """What a naive log has in the window that ends now."""
    return sum(amount for at, amount in log if now - window_us < at <= now)


@example(steps=[(1, 1), (MINUTE_US - 1, 1)], limit=1, fine=True)
@example(steps=[(1, 1), (MINUTE_US - 1, 1)], limit=1, fine=False)
@example(steps=[(1, 1), (MINUTE_US, 1)], limit=1, fine=True)
@example(steps=[(1, 1), (MINUTE_US + STEP_US, 1)], limit=1, fine=False)
@given(steps=_STEPS, limit=st.integers(1, 12), fine=st.booleans())
async def test_no_window_exceeds_the_limit(
    redis_url: str, steps: list[Step], limit: int, *, fine: bool
) -> None:
    """For any times and amounts: beside a naive log of all that passed.

    No window of a minute has more than the limit. What fits into a window that is as much longer as times are
    rounded (nothing, below a thousand requests a minute) passes.
    """
    client = connection.connect(redis_url, timeout_s=30)
    clock = Clock()
    limiter = RateLimiter(client, clock=clock)
    subject = user(tokens_per_minute=limit, **({"requests_per_minute": 1_000} if fine else {}))
    slack = 0 if fine else STEP_US
    log: list[Step] = []
    try:
        for passed, amount in steps:
            clock.now += passed
            fits = in_window(log, clock.now, MINUTE_US + slack) + amount <= limit
            found = await take(limiter, subject, tokens=amount)
            if isinstance(found, Taken):
                log.append((clock.now, amount))
            else:
                assert not fits
            assert in_window(log, clock.now, MINUTE_US) <= limit
        for at, _ in log:
            assert in_window(log, at + MINUTE_US - 1, MINUTE_US) <= limit
    finally:
        await client.aclose()
