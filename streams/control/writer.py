"""Changes control records: all or none of a change, checked first, and each version kept.

    async with ControlWriter(bootstrap, client_id="me", timeout_s=15) as control:
        await control.change({ControlId("limit", "free"): {"per_user": {"requests_per_minute": 10}}},
                             author="ann", reason="agreed with sales")
        await control.roll_back(ControlId("limit", "free"), author="ann", reason="too low")

Two writers at once are safe: a change is one Kafka transaction, and who opens the topic to write fences off
whoever opened it before.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

import msgspec
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.codec import encode, event_headers
from streams.control.known_prices import with_known_price
from streams.control.records import PARTITION, history_key, id_of, read_version
from streams.control.specs import ControlId, InvalidControl, read_spec
from streams.control.state import ControlState
from streams.errors import KafkaUnavailable
from streams.events import ControlRecord
from streams.kafka.clients import start_client, stop_client
from streams.kafka.inspector import KafkaInspector
from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.settings import Settings
from streams.topics import CONTROL

log = structlog.get_logger(__name__)
T = TypeVar("T")

Changes = Mapping[ControlId, Mapping[str, Any] | None]
"""What is to be said, by record; None takes it away."""

_TRANSACTIONAL_ID = "headrace.control"
_TRANSACTION_TIMEOUT_MS = 15_000
_LOOK_AGAIN_S = 0.02


class ControlWriter:
    """Reads the topic, and changes it. Every method raises `KafkaUnavailable`.

    Whatever a write's fault, reading again says whether it was written: all of a change is, or nothing.
    """

    def __init__(
        self, bootstrap: str, *, client_id: str, timeout_s: float, auth: RecordAuth = UNSIGNED
    ) -> None:
        self._bootstrap = bootstrap
        self._client_id = client_id
        self._timeout_s = timeout_s
        self._auth = auth
        self._reader = KafkaInspector(
            bootstrap, client_id=client_id, timeout_s=timeout_s, committed_only=True
        )

    @classmethod
    def of(cls, settings: Settings, *, client_id: str) -> Self:
        """Return the writer of an installation."""
        return cls(
            settings.kafka_bootstrap,
            client_id=client_id,
            timeout_s=settings.kafka_timeout_s,
            auth=RecordAuth.from_settings(settings),
        )

    async def __aenter__(self) -> Self:
        """Connect when it is needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._reader.close()

    async def state(self) -> ControlState:
        """Return the records that hold now."""
        return _state_of(await self._read())

    async def history(self, of: ControlId) -> Sequence[ControlRecord]:
        """Return all versions of a record, the oldest first."""
        return (await self._read()).get(of, [])

    async def look(self, of: ControlId) -> tuple[dict[str, Any] | None, Sequence[ControlRecord]]:
        """Return a record as it holds, as `ControlState.find` does, and all its versions."""
        history = await self._read()
        return _state_of(history).find(of), history.get(of, [])

    async def change(
        self,
        changes: Changes,
        *,
        author: str,
        reason: str = "",
        dry_run: bool = False,
        expected: Mapping[ControlId, int] | None = None,
    ) -> Sequence[ControlRecord]:
        """Make the changes, and return the new versions; what says already what it should has none.

        `expected` are the versions that they are made from (0: there is none). Raises `InvalidControl` for a
        wrong record, or one that has changed since, and writes nothing then, or with `dry_run`.
        """
        changes = {of: with_known_price(of, spec) for of, spec in changes.items()}
        for of, spec in changes.items():
            if spec is not None:
                read_spec(of.kind, of.name, spec)
        if dry_run:
            return self._versions(changes, await self._read(), author, reason)
        async with self._alone() as write:
            history = await self._read()
            _check_unchanged(expected or {}, history)
            new = self._versions(changes, history, author, reason)
            if new:
                await write(new)
            return new

    async def roll_back(self, of: ControlId, *, author: str, reason: str = "") -> Sequence[ControlRecord]:
        """Say again what the version before the last one said; `InvalidControl` where there is none."""
        versions = await self.history(of)
        if not versions:
            raise InvalidControl(f"there is no record {of}", param=str(of))
        before = versions[-2].spec if len(versions) > 1 else None
        return await self.change(
            {of: before},
            author=author,
            reason=reason or "rolled back",
            expected={of: versions[-1].version},
        )

    async def sign_again(self) -> int:
        """Write every version once more, signed with the present key; return how many there are.

        Nothing else changes. Before an old record key is taken away, this has to be done once.
        """
        async with self._alone() as write:
            versions = [each for history in (await self._read()).values() for each in history]
            await write(versions)
            return len(versions)

    def _versions(
        self,
        changes: Changes,
        history: Mapping[ControlId, Sequence[ControlRecord]],
        author: str,
        reason: str,
    ) -> list[ControlRecord]:
        now, state = datetime.now(UTC), _state_of(history)
        new = []
        for of, spec in changes.items():
            known = state.records.get(of)
            if (known and known.spec) == spec:
                continue
            versions = history.get(of, ())
            new.append(
                ControlRecord(
                    kind=of.kind,
                    name=of.name,
                    version=versions[-1].version + 1 if versions else 1,
                    spec=None if spec is None else msgspec.to_builtins(spec),
                    author=author,
                    reason=reason,
                    at=now,
                )
            )
        state.learned(new).check()
        return new

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[Callable[[Sequence[ControlRecord]], Awaitable[None]]]:
        """Fence off all other writers; yield what writes new versions."""
        producer: AIOKafkaProducer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap.split(","),
            client_id=self._client_id,
            transactional_id=_TRANSACTIONAL_ID,
            transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
            request_timeout_ms=int(self._timeout_s * 1000),
        )
        await self._within("opening a transaction", start_client(producer, timeout_s=self._timeout_s))
        try:
            yield lambda new: self._within("writing", self._write(producer, new), unknown=True)
        finally:
            if (fault := await stop_client(producer, timeout_s=self._timeout_s)) is not None:
                log.info("control.close_failed", error=fault)

    async def _write(self, producer: AIOKafkaProducer, new: Sequence[ControlRecord]) -> None:
        """Write versions, and wait until readers see them: the broker marks a commit after it confirms it."""
        written = []
        async with producer.transaction():
            for event in new:
                of = id_of(event)
                value = encode(event)
                headers = event_headers(
                    event, event_id=f"{of}:{event.version}", source="headrace/control", at=event.at
                )
                for key, said in (
                    (str(of), value if event.spec is not None else None),
                    (history_key(of, event.version), value),
                ):
                    signed = self._auth.signed(CONTROL.name, key.encode(), said, tuple(headers))
                    written.append(
                        await producer.send(
                            CONTROL.name,
                            value=said,
                            key=key.encode(),
                            partition=PARTITION.partition,
                            headers=list(signed),
                        )
                    )
        last = max([(await each).offset for each in written], default=-1)
        while (await self._reader.end_offsets([PARTITION]))[PARTITION] <= last:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _read(self) -> dict[ControlId, list[ControlRecord]]:
        """Return all versions of every record, the oldest first."""
        begin = await self._reader.beginning_offsets([PARTITION])
        end = await self._reader.end_offsets([PARTITION])
        found: dict[ControlId, dict[int, ControlRecord]] = {}
        async for record in self._reader.read_between(begin, end):
            if (event := read_version(record, self._auth)) is not None:
                found.setdefault(id_of(event), {})[event.version] = event
        return {of: [each for _, each in sorted(versions.items())] for of, versions in found.items()}

    async def _within(self, what: str, call: Awaitable[T], *, unknown: bool = False) -> T:
        try:
            return await asyncio.wait_for(call, self._timeout_s)
        except (KafkaError, TimeoutError, OSError) as fault:
            history = "`headrace control history` shows whether it was written"
            end = history if unknown else "nothing was changed"
            raise KafkaUnavailable(f"{what} {CONTROL.name} failed: {fault!r}; {end}") from fault


def _state_of(history: Mapping[ControlId, Sequence[ControlRecord]]) -> ControlState:
    return ControlState().learned(version for versions in history.values() for version in versions)


def _check_unchanged(
    expected: Mapping[ControlId, int], history: Mapping[ControlId, Sequence[ControlRecord]]
) -> None:
    for of, version in expected.items():
        found = history[of][-1].version if of in history else 0
        if found != version:
            raise InvalidControl(
                f"{of} was changed meanwhile: it has version {found}, not {version}; look at it again",
                code="record_changed",
                param=str(of),
            )
