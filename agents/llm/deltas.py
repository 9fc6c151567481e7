"""Publishes a streamed answer as deltas, fenced by attempt and sequence number."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import structlog

from streams.codec import event_headers
from streams.errors import TransientFault
from streams.events import Delta, Envelope
from streams.publisher import Emit, Publisher
from streams.tasks import cancel_and_wait, run_unless
from streams.topics import DELTAS, REPLIES

_SOURCE = "headrace/llm"
#: The time between two records of a stream, in seconds: the shortest, and what it grows to at most.
_MIN_INTERVAL_S, _MAX_INTERVAL_S = 0.03, 1.0
_RECORDS_PER_S = 800.0
_MAX_RECORD_CHARS = 2_000
_MAX_WAITING_CHARS = 256_000
_CLOSE_TIMEOUT_S = 5.0

log = structlog.get_logger(__name__)


class DeltaPace:
    """How often streams publish: the less often, the more of them one worker writes at once.

    A record costs as much as several tokens do, and a reader hardly sees a difference between twenty updates
    a second and five. So a few streams publish nearly every token, and many share `records_per_s`.
    """

    def __init__(self, *, records_per_s: float = _RECORDS_PER_S) -> None:
        self._records_per_s = records_per_s
        self.streams = 0  # how many have text

    @property
    def interval_s(self) -> float:
        """The time between two records of a stream, as things are now, in seconds."""
        return min(max(_MIN_INTERVAL_S, self.streams / self._records_per_s), _MAX_INTERVAL_S)


@dataclass(eq=False)
class DeltaStream:
    """Publishes the text of one attempt, in order, without making the provider wait.

    The first text goes out at once. What comes before it is time for the next record is gathered into that
    one. One record is on its way at a time, so a slow broker means longer deltas, not more memory. Where
    publishing fails the stream ends quietly: the reply carries the whole answer.

    `attempt` is the number of the call: watchers drop the text of lower ones. A record goes out earlier when
    it would grow beyond `max_chars`.
    """

    publisher: Publisher
    _: KW_ONLY
    envelope: Envelope
    attempt: int
    pace: DeltaPace
    max_chars: int = _MAX_RECORD_CHARS
    sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep
    _waiting: str = field(default="", init=False)
    _seq: int = field(default=0, init=False)
    _failed: bool = field(default=False, init=False)
    _ending: bool = field(default=False, init=False)
    _news: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _full: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _worker: asyncio.Task[None] | None = field(default=None, init=False)

    def feed(self, text: str) -> None:
        """Take the next piece of checked text."""
        if not text or self._failed:
            return
        self._waiting += text
        if len(self._waiting) > _MAX_WAITING_CHARS:
            self._give_up("the broker is too slow")
            return
        self._news.set()
        if len(self._waiting) >= self.max_chars:
            self._full.set()
        if self._worker is None:
            self.pace.streams += 1
            self._worker = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Publish what waits, and return when the broker has it, or after a few seconds."""
        self._ending = True
        self._news.set()
        self._full.set()
        if self._worker is not None:
            await asyncio.wait([self._worker], timeout=_CLOSE_TIMEOUT_S)
        await self.abandon()

    async def abandon(self) -> None:
        """Publish nothing more."""
        self._failed, self._waiting = True, ""
        if self._worker is not None:
            worker, self._worker = self._worker, None
            self.pace.streams -= 1
            await cancel_and_wait(worker)

    async def _work(self) -> None:
        while not self._failed:
            await self._news.wait()
            self._news.clear()
            await self._publish_waiting()
            if self._ending and not self._waiting:
                return
            await run_unless(self._full.wait(), self.sleep(self.pace.interval_s))

    async def _publish_waiting(self) -> None:
        text, self._waiting = self._waiting, ""
        if not self._ending:
            self._full.clear()
        if not text:
            return
        emit, self._seq = self._emit(text), self._seq + 1
        try:
            await self.publisher.publish(emit)
        except TransientFault as fault:
            self._give_up(str(fault))

    def _emit(self, text: str) -> Emit:
        request_id = self.envelope.request_id
        lookup = self.envelope.cache if self._seq == 0 else None
        delta = Delta(
            request_id=request_id,
            attempt=self.attempt,
            seq=self._seq,
            text=text,
            cache_kind=lookup.kind if lookup else None,
        )
        headers = event_headers(
            delta,
            event_id=f"{request_id}:{self.attempt}:{self._seq}",
            source=_SOURCE,
            traceparent=self.envelope.traceparent,
        )
        return Emit.to(DELTAS, delta, key=request_id, headers=headers, partition=_partition(self.envelope))

    def _give_up(self, why: str) -> None:
        self._failed, self._waiting = True, ""
        log.warning("llm.deltas_stopped", request_id=self.envelope.request_id, reason=why)


def _partition(envelope: Envelope) -> int | None:
    """Return the reply partition of the ingest replica that asked; None where a Kafka producer asked."""
    reply_to = envelope.reply_to
    return reply_to.partition if reply_to.topic == REPLIES.name else None
