"""An erasure that is killed anywhere can be run again."""

from collections.abc import Callable

import pytest

from analytics.erasure.row_eraser import RowEraser, UsersRollup
from headrace.ops.privacy.eraser import ErasureVerdict
from headrace.ops.privacy.redis_eraser import RedisEraser
from streams.events import ErasureMode
from tests.headrace.ops.privacy.world import World, left, refresh

pytestmark = pytest.mark.integration


class Killed(Exception):
    """The process has died here."""


#: What a run changes, in this order; everything else that it asks of its parts is a question.
CHANGES = ("publisher.publish", "redis.erase", "rows.erase", "rollup.erase")
QUESTIONS = ("rows.request_ids", "rows.count", "rollup.days", "redis.find")


@pytest.mark.parametrize("mode", ["anonymise", "delete"])
async def test_killed_anywhere_it_is_run_again(world: World, mode: ErasureMode) -> None:
    """After each change to a part the next run finds the rest.

    A question leaves nothing behind: a run that is killed after one has done what it had done before.
    `tests/analytics/erasure/test_erasing_rollups.py` kills between the statements of a change.
    """
    worlds = [world, *(world.another() for _ in CHANGES[1:])]
    for each in worlds:
        await each.add_requests()
    await refresh(world.clickhouse)
    for number, each in enumerate(worlds, start=1):
        dying = _Dying(after=number)
        parts = {
            "publisher": dying.part("publisher", each.publisher),
            "redis": dying.part("redis", RedisEraser(each.redis)),
            "rows": dying.part("rows", RowEraser(each.clickhouse)),
            "rollup": dying.part("rollup", UsersRollup(each.clickhouse)),
        }
        with pytest.raises(Killed):
            await each.erase(mode, **parts)
        assert dying.done == [*CHANGES[:number]]
        await _erased_by_another_run(each, mode)


async def _erased_by_another_run(world: World, mode: ErasureMode) -> None:
    # What ClickHouse has lost by now is found on Kafka, as in reality.
    world.on_kafka = {f"{world.tenant}-0", f"{world.tenant}-2"}
    report = await world.erase(mode)
    assert (report.verdict, left(report)) == (ErasureVerdict.ERASED, {})
    others = {report.pseudonym} if mode == "anonymise" else set()
    assert set(await world.users()) == {world.bob.user_id} | others
    assert set(await world.users("rollup_users_1d")) == {world.bob.user_id} | others
    assert [await world.content(f"{world.tenant}-{number}") for number in range(3)] == ["", "Hello Ann", ""]


class _Dying:
    """A process that dies as soon as it has made so many changes."""

    def __init__(self, *, after: int) -> None:
        self.done: list[str] = []
        self._after = after

    def part(self, name: str, part: object) -> object:
        """A part that the process asks and changes."""
        return _Watched(lambda method: self._called(f"{name}.{method}"), part)

    def _called(self, what: str) -> None:
        assert what in CHANGES + QUESTIONS
        if what in CHANGES:
            self.done.append(what)
            if len(self.done) == self._after:
                raise Killed


class _Watched:
    """A part whose every call is told once it is over."""

    def __init__(self, told: Callable[[str], None], part: object) -> None:
        self._told, self._part = told, part

    def __getattr__(self, name: str) -> object:
        call = getattr(self._part, name)

        async def then_tell(*args: object, **kwargs: object) -> object:
            answer = await call(*args, **kwargs)
            self._told(name)
            return answer

        return then_tell
