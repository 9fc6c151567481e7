"""Dead letters that wait, on a real broker: as they come, are acted on, and go."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import chain, repeat

import pytest

from analytics.api.live import DeadLetterBacklog, StageCount
from streams.codec import encode
from streams.events import DeadLetterAction
from tests.analytics.broker import Broker

pytestmark = pytest.mark.integration


class Desk:
    """The two topics, and a watch on them."""

    def __init__(self, broker: Broker, letters: str, actions: str) -> None:
        self._broker = broker
        self._letters = letters
        self._actions = actions

    def watch(
        self, *, most_letters: int = 100, clock: Callable[[], float] = time.monotonic
    ) -> DeadLetterBacklog:
        """A new watch."""
        return DeadLetterBacklog(
            self._broker.inspector,
            budget_s=30,
            most_letters=most_letters,
            letters=self._letters,
            actions=self._actions,
            clock=clock,
        )

    async def die(self, stage: str, *, partition: int = 0) -> None:
        """Write a dead letter."""
        headers = [("__streams.errors.stage", stage.encode())] if stage else []
        await self._broker.write(self._letters, b"a record", partition=partition, headers=headers)

    async def act(self, place: str, action: str = "replayed") -> None:
        """Do something with a dead letter."""
        event = DeadLetterAction(dead_letter=place, action=action, by="ann", at=datetime.now(UTC))  # type: ignore[arg-type]
        await self.scribble(encode(event))

    async def scribble(self, value: bytes) -> None:
        """Write anything to the topic of actions."""
        await self._broker.write(self._actions, value)


@pytest.fixture
async def service(broker: Broker) -> Desk:
    """Two empty topics."""
    return Desk(broker, await broker.topic("letters"), await broker.topic("actions"))


async def test_nothing_waits_on_empty_topics(service: Desk) -> None:
    """And that is known, not guessed."""
    found = await service.watch().look()
    assert (found.waiting, found.on_topic, found.by_stage, found.complete) == (0, 0, (), True)


async def test_letters_wait_until_somebody_acts(service: Desk) -> None:
    """Replayed or discarded they wait no longer, however often; a new look sees what is new."""
    watch = service.watch()
    for stage, partition in (("llm", 0), ("llm", 1), ("cost", 0), ("", 1)):
        await service.die(stage, partition=partition)
    found = await watch.look()
    assert (found.waiting, found.on_topic, found.complete) == (4, 4, True)
    assert found.by_stage[0] == StageCount(stage="llm", waiting=2)
    assert {each.stage: each.waiting for each in found.by_stage} == {"llm": 2, "cost": 1, "": 1}
    await service.act("0:0")
    await service.act("0:0", "discarded")
    await service.act("1:1", "discarded")
    found = await watch.look()
    assert (found.waiting, found.on_topic) == (2, 4)
    assert {each.stage: each.waiting for each in found.by_stage} == {"llm": 1, "cost": 1}
    await service.die("llm")
    assert (await watch.look()).waiting == 3
    assert await service.watch().look() == await watch.look()


async def test_what_names_no_letter_changes_nothing(service: Desk) -> None:
    """Anybody may write to the topic of actions."""
    await service.die("llm")
    for place in ("0:7", "5:0", "nowhere", "0:-1"):
        await service.act(place)
    await service.scribble(b"no event")
    assert (await service.watch().look()).waiting == 1


async def test_a_look_ends_in_time_and_the_next_goes_on(service: Desk) -> None:
    """Meanwhile the number is an upper bound, and says so."""
    await service.die("llm")
    await service.act("0:0")
    watch = service.watch(clock=chain((0, 100), repeat(100)).__next__)
    found = await watch.look()
    assert (found.waiting, found.complete) == (1, False)
    found = await watch.look()
    assert (found.waiting, found.complete) == (0, True)


async def test_very_many_letters_are_counted_without_their_stages(service: Desk) -> None:
    """Memory is bounded; the number is right all the same."""
    for _ in range(3):
        await service.die("llm")
    found = await service.watch(most_letters=2).look()
    assert (found.waiting, found.by_stage) == (3, (StageCount(stage="llm", waiting=2),))
