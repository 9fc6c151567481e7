"""Connects and disconnects aiokafka's clients, whatever state the broker is in."""

import asyncio
from contextlib import suppress
from typing import Any, TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

import streams.kafka.record_batches  # noqa: F401  # every consumer reads any record: see there

log = structlog.get_logger(__name__)

Client: TypeAlias = AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient


async def start_client(client: Client, *, timeout_s: float) -> None:
    """Connect a client; where that fails, disconnect it.

    aiokafka leaves its socket open when it is cancelled while it connects. So a caller that is cancelled here
    waits until the client has connected, for `timeout_s` at most, and is disconnected again.
    """
    starting = asyncio.ensure_future(client.start())
    try:
        await asyncio.shield(starting)
    except BaseException:
        ending = asyncio.ensure_future(_abandon(client, starting, timeout_s))
        while not ending.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((ending,))
        raise


async def _abandon(client: Client, starting: asyncio.Future[Any], timeout_s: float) -> None:
    await asyncio.wait((starting,), timeout=timeout_s)
    starting.cancel()
    starting.add_done_callback(_fault_of)
    if (fault := await stop_client(client, timeout_s=timeout_s)) is not None:
        log.info("kafka.stop_failed", error=fault)


async def stop_client(client: Client, *, timeout_s: float) -> str | None:
    """Disconnect a client, started or not, within `timeout_s` seconds.

    It runs in a task of its own: where no broker answers, aiokafka lets the cancellation of its inner tasks
    escape, which the caller would take for its own.

    Returns:
        Why it did not end well, for the log; None where it did.
    """
    ending = client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop()
    stopping: asyncio.Task[Any] = asyncio.ensure_future(ending)
    await asyncio.wait((stopping,), timeout=timeout_s)
    if not stopping.done():
        stopping.cancel()
        stopping.add_done_callback(_fault_of)
        return f"it did not stop within {timeout_s:g} s"
    return _fault_of(stopping)


def _fault_of(ended: asyncio.Future[Any]) -> str | None:
    """Return a future's fault. Asking for it keeps Python from complaining that nobody did."""
    if ended.cancelled():
        return "no broker answered"
    fault = ended.exception()
    return None if fault is None else repr(fault)
