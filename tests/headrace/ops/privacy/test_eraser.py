"""The whole erasure on real parts: what it does."""

import asyncio

import pytest

from headrace.ops.privacy.eraser import AlreadyDeleted, ErasureReport, ErasureVerdict
from tests.headrace.ops.privacy.world import COST, World, left

pytestmark = pytest.mark.integration


def found(report: ErasureReport) -> dict[str, int]:
    return {place.name: place.found for place in report.places if place.found}


EVERYTHING = {
    "payloads_raw": 2,
    "llm_calls_raw": 2,
    "requests_raw": 2,
    "rollup_users_1d": 1,
    "stored replies": 2,
}


async def test_a_user_is_forgotten_everywhere(world: World) -> None:
    """The cost stays booked, the other user untouched, and what arrives again stays anonymous."""
    logs = await world.fill()
    report = await world.erase()
    assert (report.verdict, report.requests, left(report)) == (ErasureVerdict.ERASED, 2, {})
    assert found(report) == EVERYTHING
    for table in ("requests_raw", "llm_calls_raw", "rollup_users_1d"):
        assert set(await world.users(table)) == {report.pseudonym, world.bob.user_id}
    assert await world.users("payloads_raw") == {world.bob.user_id: 1}
    assert [await world.content(log.request_id) for log in logs] == ["", "Hello Ann", ""]
    assert await world.cost() == 3 * COST
    await world.store(logs[1:], topic="again")
    assert set(await world.users()) == {report.pseudonym, world.bob.user_id}
    assert await world.cost() == 3 * COST
    assert world.ann.user_id not in repr(report)


async def test_a_dry_run_changes_nothing(world: World) -> None:
    """It finds what an erasure would; nobody is put on the list."""
    await world.fill()
    report = await world.eraser().plan(world.ann, "anonymise")
    assert (report.verdict, found(report)) == (ErasureVerdict.PLANNED, EVERYTHING)
    assert (await world.feed.current()).find(world.ann) is None
    assert (await world.users())[world.ann.user_id] == 2


async def test_erasing_again_finds_nothing(world: World) -> None:
    """Under the same pseudonym."""
    await world.fill()
    first = await world.erase()
    again = await world.erase()
    assert (again.verdict, found(again), again.requests) == (ErasureVerdict.ERASED, {}, 2)
    assert again.pseudonym == first.pseudonym
    assert again.until > first.until


async def test_an_unknown_user_is_put_on_the_list_all_the_same(world: World) -> None:
    """Something of theirs may be on its way."""
    report = await world.erase()
    assert (report.verdict, report.requests) == (ErasureVerdict.ERASED, 0)
    await world.store([world.log(world.ann, 1)])
    assert await world.users() == {report.pseudonym: 1}


async def test_requests_under_way_are_waited_for(world: World) -> None:
    """What they leave when they end is erased as well."""
    await world.fill()
    running = f"{world.tenant}-running"
    world.on_kafka = {running}
    await world.register(running)
    early = await world.erase()
    assert (early.verdict, early.under_way) == (ErasureVerdict.UNDER_WAY, 1)
    erasing = asyncio.create_task(world.eraser().erase(world.ann, "anonymise", wait_s=60))
    while not any("under way" in line for line in world.said):
        await asyncio.sleep(0.01)
    await world.settle(running)
    report = await erasing
    assert (report.verdict, report.under_way) == (ErasureVerdict.ERASED, 0)
    assert await world.content(running) == ""


async def test_deleted_users_are_not_anonymised_afterwards(world: World) -> None:
    """What comes again of the first time would then be stored."""
    await world.fill()
    report = await world.erase("delete")
    assert (report.verdict, left(report)) == (ErasureVerdict.ERASED, {})
    assert set(await world.users()) == {world.bob.user_id}
    with pytest.raises(AlreadyDeleted, match="--mode delete"):
        await world.erase("anonymise")
