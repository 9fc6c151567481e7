"""Stages as Faust apps: one app, so one consumer group, per stage; any mix of them in one process."""

import asyncio
import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faust
import structlog

from agents.runner import transport
from agents.runner.execution import StageRunner
from agents.runner.keyed_tasks import KeyedTasks
from agents.stage import Record
from streams.settings import Settings

#: Dead members are noticed after the session timeout; a restarted one with the same instance id takes
#: its partitions back at once (measured: 15 ms instead of 60 s).
_SESSION_TIMEOUT_S = 6.0
_HEARTBEAT_S = 1.0
_REBALANCE_TIMEOUT_S = 60.0
_COMMIT_INTERVAL_S = 0.5
#: What leaving the groups may take after the drain.
_LEAVE_TIMEOUT_S = 10.0

log = structlog.get_logger(__name__)


class StageApp:
    """One stage as a Faust app with one agent.

    Args:
        runner: brings each record to its outcome.
        settings: brokers, names and time-outs.
        in_flight: how many records the stage works on at once; the rest waits in Kafka.
    """

    def __init__(self, runner: StageRunner, settings: Settings, *, in_flight: int) -> None:
        self.name = runner.stage.name
        self._runner = runner
        self._failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._tasks = KeyedTasks(in_flight, self._fail)
        self._assigned = asyncio.Event()
        self.app = _faust_app(self.name, settings, in_flight)
        topic = self.app.topic(runner.stage.source.name, key_serializer="raw", value_serializer="raw")
        self.app.agent(topic, name=f"headrace.{self.name}")(self._consume)
        self.app.on_partitions_assigned.connect(self._on_assigned)

    async def start(self) -> None:
        """Join the consumer group; returns once partitions are assigned."""
        self.app.finalize()
        await self.app.start()
        await self._assigned.wait()

    async def stop(self) -> None:
        """Stop fetching, finish what is in flight within the drain time-out, commit, leave."""
        await self.app.stop()

    async def wait_crashed(self) -> BaseException:
        """Return the fault that ended the app."""
        crashed: asyncio.Future[Any] = asyncio.ensure_future(self.app._crashed.wait())  # noqa: SLF001  # mode has no public way
        try:
            waiting: list[asyncio.Future[Any]] = [crashed, self._failed]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            crashed.cancel()
        if self._failed.done():
            return self._failed.result()
        return self.app.crash_reason or RuntimeError(f"stage {self.name} crashed")

    def _fail(self, fault: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_result(fault)

    async def _on_assigned(self, *_: object, **__: object) -> None:
        self._assigned.set()

    async def _consume(self, stream: Any) -> None:
        async for event in stream.noack().events():
            await self._tasks.submit(event.message.key, self._work(stream, event))

    def _work(self, stream: Any, event: Any) -> Callable[[], Any]:
        # The closure holds the event: Faust tracks what is in flight by weak references.
        async def work() -> None:
            await self._runner.run(_record(event.message))
            await stream.ack(event)

        return work


async def run_apps(apps: Sequence[StageApp], *, on_ready: Callable[[], None] = lambda: None) -> None:
    """Run stage apps side by side until SIGTERM or SIGINT, or until one of them crashes.

    Raises:
        BaseException: what crashed a stage. The process should end and be restarted: the events that
            were in flight are delivered again.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    crashes = [asyncio.ensure_future(app.wait_crashed()) for app in apps]
    stopped = asyncio.ensure_future(stop.wait())
    starting = asyncio.ensure_future(_start_all(apps, on_ready))
    try:
        await asyncio.wait([stopped, *crashes], return_when=asyncio.FIRST_COMPLETED)
        for crash in crashes:
            if crash.done():
                raise crash.result()
    finally:
        for task in (starting, stopped, *crashes):
            task.cancel()
        await _stop_all(apps)


async def _start_all(apps: Sequence[StageApp], on_ready: Callable[[], None]) -> None:
    await asyncio.gather(*(app.start() for app in apps))
    log.info("worker.ready", stages=[app.name for app in apps])
    on_ready()


async def _stop_all(apps: Sequence[StageApp]) -> None:
    stopping = asyncio.gather(*(app.stop() for app in apps), return_exceptions=True)
    try:
        await asyncio.wait_for(stopping, transport.SafeConsumer.drain_timeout_s + _LEAVE_TIMEOUT_S)
    except TimeoutError:
        log.warning("worker.stop_timed_out", stages=[app.name for app in apps])


def _faust_app(stage: str, settings: Settings, in_flight: int) -> faust.App:
    transport.register()
    transport.SafeConsumer.drain_timeout_s = settings.drain_timeout_s
    return faust.App(
        f"headrace.{stage}",
        broker=[f"{transport.SCHEME}://{host}" for host in settings.kafka_bootstrap.split(",")],
        set_as_current=False,
        autodiscover=False,
        web_enabled=False,
        datadir=Path(tempfile.gettempdir()) / f"headrace-faust-{stage}",
        store="memory://",
        key_serializer="raw",
        value_serializer="raw",
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=f"{settings.instance_id}.{stage}",
        broker_session_timeout=_SESSION_TIMEOUT_S,
        broker_heartbeat_interval=_HEARTBEAT_S,
        broker_rebalance_timeout=_REBALANCE_TIMEOUT_S,
        broker_commit_interval=_COMMIT_INTERVAL_S,
        # Twice what is in flight is the back-pressure: the rest of a burst waits in Kafka.
        broker_max_poll_records=2 * in_flight,
        stream_buffer_maxsize=2 * in_flight,
        stream_wait_empty=True,
        producer_request_timeout=30.0,
    )


def _record(message: Any) -> Record:
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp_ms=int((message.timestamp or 0) * 1000),
        key=message.key,
        value=message.value,
        headers=tuple((key, value or b"") for key, value in _headers(message.headers)),
    )


def _headers(headers: Any) -> Any:
    return headers.items() if hasattr(headers, "items") else headers or ()
