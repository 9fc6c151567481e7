"""Changes of control records on a real broker: written, followed, kept, and taken back."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from streams.codec import encode
from streams.control.follower import ControlFollower
from streams.control.specs import ControlId, InvalidControl, KeySpec, LimitSpec
from streams.control.writer import ControlWriter
from streams.errors import KafkaUnavailable
from streams.kafka.record_auth import RecordAuth
from streams.topics import CONTROL

pytestmark = pytest.mark.integration

AUTH = RecordAuth([b"a secret of the tests, of 32 characters"])


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a follower has learned something."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


def record(name: str) -> ControlId:
    """The limits of a tier of one test's own: all tests share the topic."""
    return ControlId("limit", name)


def of_minute(most: int) -> dict[str, dict[str, int]]:
    """Limits with so many requests a minute."""
    return {"per_user": {"requests_per_minute": most}}


def limit_of(follower: ControlFollower, name: str) -> int | None:
    """The requests a minute that hold in a process; None without the record."""
    found = follower.state.specs(LimitSpec).get(name)
    return found and found.per_user.requests_per_minute


@pytest.fixture
def open_follower(kafka_bootstrap: str) -> Callable[[], ControlFollower]:
    """Makes what a process follows with."""
    return lambda: ControlFollower(kafka_bootstrap, client_id="test", timeout_s=30, auth=AUTH)


@pytest.fixture
def open_writer(kafka_bootstrap: str) -> Callable[[], ControlWriter]:
    """Makes what an operator's command writes with."""
    return lambda: ControlWriter(kafka_bootstrap, client_id="test", timeout_s=30, auth=AUTH)


async def test_a_change_is_followed_kept_and_taken_back(
    open_follower: Callable[[], ControlFollower], open_writer: Callable[[], ControlWriter]
) -> None:
    """Who starts later finds the same; what says already what it should makes no version."""
    mine = record("followed")
    async with open_follower() as follower, open_writer() as writer:
        seen: list[int | None] = []
        follower.subscribe(lambda state: seen.append(limit_of(follower, "followed")))
        await writer.change({mine: of_minute(10)}, author="ann")
        await until(lambda: limit_of(follower, "followed") == 10)
        async with open_writer() as another:
            assert (await another.state()).records[mine].version == 1, "seen by all when it is confirmed"
        assert await writer.change({mine: of_minute(10)}, author="ann") == []
        await writer.change({mine: of_minute(20)}, author="bob", reason="more")
        await writer.roll_back(mine, author="eve")
        await until(lambda: seen[-2:] == [20, 10])
        told = [(each.version, each.author, each.reason, each.spec) for each in await writer.history(mine)]
        assert told == [
            (1, "ann", "", of_minute(10)),
            (2, "bob", "more", of_minute(20)),
            (3, "eve", "rolled back", of_minute(10)),
        ]
        async with open_follower() as later:
            assert limit_of(later, "followed") == 10


async def test_what_is_taken_away_is_gone_and_comes_back_with_the_next_version(
    open_follower: Callable[[], ControlFollower], open_writer: Callable[[], ControlWriter]
) -> None:
    """A version never repeats; taking back the first version takes the record away."""
    mine = record("removed")
    async with open_follower() as follower, open_writer() as writer:
        await writer.change({mine: of_minute(1)}, author="ann")
        await until(lambda: limit_of(follower, "removed") == 1)
        (gone,) = await writer.change({mine: None}, author="ann")
        assert (gone.version, gone.spec) == (2, None)
        await until(lambda: limit_of(follower, "removed") is None)
        (back,) = await writer.roll_back(mine, author="ann")
        assert (back.version, back.spec) == (3, of_minute(1))
        assert await writer.change({record("never"): None}, author="ann") == []
        with pytest.raises(InvalidControl, match="no record limit:never"):
            await writer.roll_back(record("never"), author="ann")


async def test_a_shipped_record_is_changed_and_comes_back(
    open_follower: Callable[[], ControlFollower], open_writer: Callable[[], ControlWriter]
) -> None:
    """Taking the record away brings back what Headrace comes with."""
    async with open_follower() as follower, open_writer() as writer:
        assert limit_of(follower, "premium") == 100
        await writer.change({record("premium"): of_minute(99)}, author="ann")
        await until(lambda: limit_of(follower, "premium") == 99)
        await writer.change({record("premium"): None}, author="ann")
        await until(lambda: limit_of(follower, "premium") == 100)


async def test_all_of_a_change_or_nothing(open_writer: Callable[[], ControlWriter]) -> None:
    """One wrong record, or one that names what is not there, and none is written."""
    key = {"sha256": "0" * 64, "tenant": "t", "tier": "no-such-tier"}
    async with open_writer() as writer:
        for wrong, told in (
            ({record("whole"): {"per_usr": {}}}, "per_usr"),
            ({ControlId("key", "k"): key}, "keys.k.tier: there are no limits for the tier 'no-such-tier'"),
        ):
            with pytest.raises(InvalidControl, match=told):
                await writer.change({record("whole-2"): of_minute(1), **wrong}, author="ann")
        assert not await writer.history(record("whole-2"))
        planned = await writer.change({record("whole-2"): of_minute(1)}, author="ann", dry_run=True)
        assert [each.version for each in planned] == [1]
        assert not await writer.history(record("whole-2"))


async def test_a_tier_with_keys_is_not_taken_away(open_writer: Callable[[], ControlWriter]) -> None:
    """Its keys would have no limits at all."""
    tier, key = record("kept"), ControlId("key", "key_kept")
    spec = {"sha256": "1" * 64, "tenant": "t", "tier": "kept"}
    async with open_writer() as writer:
        await writer.change({tier: of_minute(1), key: spec}, author="ann")
        with pytest.raises(InvalidControl, match="key_kept"):
            await writer.change({tier: None}, author="ann")
        await writer.change({tier: None, key: None}, author="ann")
        assert (await writer.state()).specs(KeySpec).get("key_kept") is None


async def test_many_writers_at_once_lose_nothing(open_writer: Callable[[], ControlWriter]) -> None:
    """Each change that was confirmed is a version of its own; who was fenced off is told."""
    mine = record("raced")

    async def change(number: int) -> int | None:
        async with open_writer() as writer:
            try:
                (new,) = await writer.change({mine: of_minute(number)}, author=str(number))
            except KafkaUnavailable:
                return None
            return new.version

    confirmed = [each for each in await asyncio.gather(*map(change, range(1, 7))) if each]
    async with open_writer() as writer:
        versions = [each.version for each in await writer.history(mine)]
    assert versions == list(range(1, len(versions) + 1))
    assert set(confirmed) <= set(versions)
    assert len(confirmed) == len(set(confirmed)) >= 1


async def test_an_old_record_that_comes_again_changes_nothing(
    kafka_bootstrap: str,
    open_follower: Callable[[], ControlFollower],
    open_writer: Callable[[], ControlWriter],
) -> None:
    """A revoked key stays revoked, in who followed and in who starts later, though the record is genuine."""
    mine = record("replayed")
    async with open_follower() as follower, open_writer() as writer:
        await writer.change({mine: of_minute(1)}, author="ann")
        (first,) = await writer.history(mine)
        await writer.change({mine: None}, author="ann")
        await until(lambda: limit_of(follower, "replayed") is None)
        key, value = str(mine).encode(), encode(first)
        producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)
        await producer.start()
        signed = AUTH.signed(CONTROL.name, key, value, ())
        await producer.send_and_wait(CONTROL.name, value, key, partition=0, headers=list(signed))
        for odd in (b"history/x/limit:a", b"history/1", b"", b"\xff"):
            await producer.send_and_wait(CONTROL.name, value, odd, partition=0)
        await producer.stop()
        await writer.change({record("replayed-2"): of_minute(1)}, author="ann")
        await until(lambda: limit_of(follower, "replayed-2") == 1)
        assert limit_of(follower, "replayed") is None
        async with open_follower() as later:
            assert limit_of(later, "replayed") is None


async def test_a_version_that_this_build_cannot_read_stops_nothing(
    open_follower: Callable[[], ControlFollower], open_writer: Callable[[], ControlWriter]
) -> None:
    """What holds is the version before; it can be replaced, and everything else goes on."""
    mine = record("newer")
    async with open_writer() as writer:
        (first,) = await writer.change({mine: of_minute(1)}, author="ann")
        newer = msgspec.structs.replace(first, version=2, spec={"per_moon": {}})
        async with writer._alone() as write:
            await write([newer])
        async with open_follower() as follower:
            assert limit_of(follower, "newer") == 1
            assert (await writer.state()).records[mine].version == 1
            (third,) = await writer.change({mine: of_minute(3)}, author="ann")
            assert third.version == 3
            await until(lambda: limit_of(follower, "newer") == 3)


async def test_a_change_of_what_was_changed_meanwhile_is_refused(
    open_writer: Callable[[], ControlWriter],
) -> None:
    """Nobody overwrites what they have not seen."""
    mine = record("seen")
    async with open_writer() as writer:
        await writer.change({mine: of_minute(1)}, author="ann", expected={mine: 0})
        with pytest.raises(InvalidControl, match="it has version 1, not 0"):
            await writer.change({mine: of_minute(2)}, author="bob", expected={mine: 0})
        await writer.change({mine: of_minute(2)}, author="bob", expected={mine: 1})


async def test_a_record_key_is_replaced(
    kafka_bootstrap: str, open_writer: Callable[[], ControlWriter]
) -> None:
    """Signed again, every version is believed by who knows the new key alone."""
    old, new = (b"a secret of the tests, of 32 characters", b"another secret of the tests, as long")
    mine = record("resigned")
    async with open_writer() as writer:
        await writer.change({mine: of_minute(1)}, author="ann")
        await writer.change({mine: of_minute(2)}, author="ann")
    both, alone = RecordAuth([new, old]), RecordAuth([new])
    async with ControlWriter(kafka_bootstrap, client_id="test", timeout_s=30, auth=alone) as blind:
        assert not await blind.history(mine)
    async with ControlWriter(kafka_bootstrap, client_id="test", timeout_s=30, auth=both) as writer:
        assert await writer.sign_again() >= 2
    async with ControlWriter(kafka_bootstrap, client_id="test", timeout_s=30, auth=alone) as writer:
        assert [each.version for each in await writer.history(mine)] == [1, 2]
    async with ControlFollower(kafka_bootstrap, client_id="test", timeout_s=30, auth=alone) as follower:
        assert limit_of(follower, "resigned") == 2
    async with ControlWriter(
        kafka_bootstrap, client_id="test", timeout_s=30, auth=RecordAuth([old, new])
    ) as writer:
        await writer.sign_again()  # as the other tests know them


async def test_records_that_headrace_did_not_write_change_nothing(
    kafka_bootstrap: str,
    open_follower: Callable[[], ControlFollower],
    open_writer: Callable[[], ControlWriter],
) -> None:
    """Not a forged one, not a forged tombstone, not one under another's key."""
    mine = record("forged")
    async with open_follower() as follower, open_writer() as writer:
        await writer.change({mine: of_minute(7)}, author="ann")
        await until(lambda: limit_of(follower, "forged") == 7)
        (genuine,) = await writer.history(mine)
        forged = msgspec.structs.replace(genuine, version=9, spec={})
        key, other = str(mine).encode(), b"limit:other"
        producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)
        await producer.start()
        await producer.send_and_wait(CONTROL.name, encode(forged), key, partition=0)
        await producer.send_and_wait(CONTROL.name, None, key, partition=0)
        signed = AUTH.signed(CONTROL.name, other, encode(forged), ())
        await producer.send_and_wait(CONTROL.name, encode(forged), other, partition=0, headers=list(signed))
        await producer.stop()
        await writer.change({record("after"): of_minute(1)}, author="ann")
        await until(lambda: limit_of(follower, "after") == 1)
        assert limit_of(follower, "forged") == 7
        assert limit_of(follower, "other") is None
        assert [each.version for each in await writer.history(mine)] == [1]
