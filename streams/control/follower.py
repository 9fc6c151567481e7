"""Keeps a process's control state up to date: reads `llm.control.v1` from its beginning, and goes on reading.

While Kafka is away the last good state holds. A record that this version of Headrace cannot read, or that
Headrace did not write, changes nothing and is logged.

    async with ControlFollower(bootstrap, client_id="me", timeout_s=15) as control:
        control.state.specs(LimitSpec)      # never older than a second while Kafka answers
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Self

import structlog
from aiokafka import ConsumerRecord

from streams.control.records import PARTITION, id_of, read_version
from streams.control.specs import ControlId
from streams.control.state import ControlState
from streams.errors import KafkaUnavailable
from streams.events import ControlRecord
from streams.kafka.groupless_consumer import BROKER_FAULTS, GrouplessConsumer
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.settings import Settings
from streams.tasks import cancel_and_wait
from streams.topics import CONTROL

log = structlog.get_logger(__name__)

_POLL_MS = 1_000
#: Read at once, so that the process does other work between.
_MOST_RECORDS = 1_000


class ControlFollower:
    """Follows the topic from `start` to `stop`; `state` is replaced as a whole, between two awaits.

    Raises `KafkaUnavailable` at the start where the topic is not read to its end within `timeout_s`.
    """

    def __init__(
        self, bootstrap: str, *, client_id: str, timeout_s: float, auth: RecordAuth = UNSIGNED
    ) -> None:
        self.state = ControlState()
        self._kafka = GrouplessConsumer(
            bootstrap,
            client_id=f"{client_id}-control",
            timeout_s=timeout_s,
            committed_only=True,
            auto_offset_reset="earliest",
        )
        self._auth = auth
        self._timeout_s = timeout_s
        self._position = 0
        self._newest: dict[ControlId, int] = {}
        self._listeners: list[Callable[[ControlState], None]] = []
        self._history_listeners: list[Callable[[ControlRecord], None]] = []
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, settings: Settings, *, client_id: str) -> Self:
        """Return the follower of an installation."""
        return cls(
            settings.kafka_bootstrap,
            client_id=client_id,
            timeout_s=settings.kafka_timeout_s,
            auth=RecordAuth.from_settings(settings),
        )

    def subscribe(self, listener: Callable[[ControlState], None]) -> None:
        """Call `listener` with the state now and after each change."""
        self._listeners.append(listener)
        listener(self.state)

    def subscribe_history(self, listener: Callable[[ControlRecord], None]) -> None:
        """Call `listener` with each version of each record that is read from now on, with the old ones.

        It may come twice.
        """
        self._history_listeners.append(listener)

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self.stop()

    async def start(self) -> None:
        """Read the topic to its present end, and go on in the background."""
        try:
            async with asyncio.timeout(self._timeout_s):
                client = await self._kafka.connect()
                self._take_up()
                end = (await client.end_offsets([PARTITION]))[PARTITION]
                while self._position < end:
                    await self._read()
        except BROKER_FAULTS as fault:
            await self._kafka.disconnect()
            raise KafkaUnavailable(
                f"cannot read {CONTROL.name}: {fault!r} (without the topic: headrace topics create)"
            ) from fault
        self._task = asyncio.create_task(self._kafka.read_with(self._read))

    async def stop(self) -> None:
        """Stop following."""
        await cancel_and_wait(self._task)
        await self._kafka.disconnect()

    def _take_up(self) -> None:
        if self._kafka.client is not None and not self._kafka.client.assignment():
            self._kafka.client.assign([PARTITION])
            self._kafka.client.seek(PARTITION, self._position)

    async def _read(self) -> bool:
        client = await self._kafka.connect()
        self._take_up()
        found = await client.getmany(PARTITION, timeout_ms=_POLL_MS, max_records=_MOST_RECORDS)
        position = await client.position(PARTITION)
        if position < self._position:
            log.warning("control.begins_anew", reason="the topic is not the one that was read before")
            self._newest = {}
            self._become(ControlState())
        self._learn(found.get(PARTITION, ()))
        self._position = position
        return True

    def _learn(self, records: Iterable[ConsumerRecord]) -> None:
        new = []
        for record in records:
            event = read_version(record, self._auth)
            if event is None or event.version < self._newest.get(id_of(event), 0):
                continue
            for tell in self._history_listeners:
                tell(event)
            if event.version != self._newest.get(id_of(event)):
                self._newest[id_of(event)] = event.version
                new.append(event)
        if new:
            self._become(self.state.learned(new))

    def _become(self, state: ControlState) -> None:
        self.state = state
        log.info("control.changed", records=len(state.records))
        for listener in self._listeners:
            try:
                listener(state)
            except Exception:  # the others must learn of it
                log.exception("control.listener_failed")
