"""A worker of one stage that gets stuck: started as a process of its own by `test_worker`."""

import asyncio
import sys
import time
from collections.abc import Sequence

from agents.runner.stage_app import StageApp
from agents.runner.watchdog import BrokerEndOffsets, WatchClock, Watchdog
from agents.runner.worker import run_apps
from agents.stage import Delivery
from streams.events import ChatRequested
from streams.publisher import Emit, Publisher
from tests.agents.runner.live import EchoStage, request, settings, stage_app


class StuckStage(EchoStage):
    """Works on the first record for ever, in the way that is asked for."""

    def __init__(self, group: str, way: str) -> None:
        super().__init__(group)
        self.way = way

    async def handle(self, _: Delivery[ChatRequested]) -> Sequence[Emit]:
        if self.way == "blocks":
            time.sleep(3600)  # noqa: ASYNC251  # what a bug does
        if self.way == "waits":
            await asyncio.sleep(3600)
        return ()


async def main(bootstrap: str, group: str, way: str) -> None:
    """Run until the watchdog, or the test's signal, ends it."""
    clock = WatchClock()
    stall_s = 30.0 if way == "works" else 3.0  # a busy machine is no stall
    watchdog = Watchdog(clock, ask_ends=BrokerEndOffsets(bootstrap, timeout_s=5), stall_timeout_s=stall_s)
    async with Publisher(bootstrap, client_id="stuck") as publisher:
        await publisher.publish(request("fast"))
        stage = StuckStage(group, way)
        app: StageApp = stage_app(stage, publisher, settings(bootstrap), now=clock)
        await run_apps(
            [app],
            watchdog=watchdog,
            stall_timeout_s=stall_s,
            drain_timeout_s=1.0,
            on_ready=lambda: print("ready", flush=True),  # noqa: T201
        )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
