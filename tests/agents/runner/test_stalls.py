"""Real consumers on a real broker, each stuck in its own way; and some that only wait."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agents.runner.stage_app import StageApp
from agents.runner.watchdog import BrokerEndOffsets, WatchClock, Watchdog, WorkerStalled
from headrace.embedded.process import free_port
from streams.publisher import Publisher
from streams.topics import REQUESTS
from tests.agents.runner.live import EchoStage, at_least, request, settings, stage_app, wait_for

pytestmark = pytest.mark.integration

STALL_S = 4.0


class Scene:
    """An app and its watchdog."""

    def __init__(self, app: StageApp, dog: Watchdog, stage: EchoStage, publisher: Publisher) -> None:
        self.app = app
        self.dog = dog
        self.stage = stage
        self.publisher = publisher

    async def stall(self) -> str:
        """Return what the watchdog finds to be stuck."""
        async with asyncio.timeout(40):
            fault = await self.dog.run()
        assert isinstance(fault, WorkerStalled)
        assert self.dog.stalled is not None
        return self.dog.stalled.what


@asynccontextmanager
async def scene(bootstrap: str) -> AsyncIterator[Scene]:
    clock = WatchClock()
    dog = Watchdog(clock, ask_ends=BrokerEndOffsets(bootstrap, timeout_s=5), stall_timeout_s=STALL_S)
    stage = EchoStage(uuid.uuid4().hex[:8])
    async with Publisher(bootstrap, client_id="test") as publisher:
        at = await publisher.publish(request("fast"))
        app = stage_app(stage, publisher, settings(bootstrap), now=clock)
        stage.release_slow.set()  # what other tests left on the topic
        await app.start()
        dog.watch(app.name, app.view)
        try:
            await wait_for(lambda: at_least(app, at.offset + 1))
            stage.release_slow.clear()
            stage.slow_started.clear()
            yield Scene(app, dog, stage, publisher)
        finally:
            stage.release_slow.set()
            await app.stop()


async def test_a_handler_that_never_returns_is_noticed(kafka_bootstrap: str) -> None:
    """Though every other request is served."""
    async with scene(kafka_bootstrap) as it:
        await it.publisher.publish(request("slow"))
        await it.stage.slow_started.wait()
        assert await it.stall() == "overdue"


async def test_a_consumer_that_no_longer_fetches_is_noticed(kafka_bootstrap: str) -> None:
    """Its process lives, its heartbeats go out, and records wait for it."""
    async with scene(kafka_bootstrap) as it:
        reading = it.app.consumer._reading
        assert reading is not None
        reading.cancel()
        await it.publisher.publish(request("fast"))
        assert await it.stall() in ("not_polling", "not_fetching")


async def test_commits_that_stop_are_noticed(kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are answered meanwhile: all of them would be answered again after a restart."""
    async with scene(kafka_bootstrap) as it:

        async def no_commit(*_: Any) -> None:
            """The broker takes none."""

        with monkeypatch.context() as patch:
            patch.setattr(it.app.consumer, "_commit", no_commit)
            await it.publisher.publish(request("fast"))
            assert await it.stall() == "not_committing"


async def test_an_idle_consumer_is_left_alone(kafka_bootstrap: str) -> None:
    """For three times the stall time-out, and then it serves the next request."""
    async with scene(kafka_bootstrap) as it:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(it.dog.run(), 3 * STALL_S)
        at = await it.publisher.publish(request("fast"))
        await wait_for(lambda: at_least(it.app, at.offset + 1))


async def test_the_broker_says_where_partitions_end(kafka_bootstrap: str) -> None:
    """Or does not answer: then nobody is to blame."""
    async with Publisher(kafka_bootstrap, client_id="test") as publisher:
        at = await publisher.publish(request("fast"))
    ends = await BrokerEndOffsets(kafka_bootstrap, timeout_s=10)([(REQUESTS.name, 0)])
    assert ends is not None
    assert ends[REQUESTS.name, 0] > at.offset
    assert await BrokerEndOffsets(f"127.0.0.1:{free_port()}", timeout_s=2)([(REQUESTS.name, 0)]) is None
