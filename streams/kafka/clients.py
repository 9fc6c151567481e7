"""Begins and ends connections to Kafka, whatever state the broker is in."""

import asyncio
from contextlib import suppress
from typing import Any, TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

import streams.kafka.record_batches  # noqa: F401  # whatever reads from Kafka reads any record

log = structlog.get_logger(__name__)

Client: TypeAlias = AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient


async def start_client(client: Client, *, timeout_s: float) -> None:
    """Connect a client of aiokafka; what does not connect is disconnected.

    Cancelled while it connects, aiokafka would leave its socket open. So whoever is cancelled here waits
    until the client has connected, for `timeout_s` at most, and is disconnected again.
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
    """Disconnect a client of aiokafka. It is given up in any case.

    In a task of its own, because aiokafka lets the cancellation of its inner tasks escape where no broker
    answers, which our caller would take for its own, and would end itself.

    Args:
        client: it may have been started or not.
        timeout_s: how long that may take, in seconds.

    Returns:
        Why it did not end well, or None where it did. There is nothing to be done about it, but to log it.
    """
    ending = client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop()
    stopping: asyncio.Task[Any] = asyncio.ensure_future(ending)
    await asyncio.wait((stopping,), timeout=timeout_s)
    if not stopping.done():
        stopping.cancel()
        stopping.add_done_callback(_fault_of)  # else Python complains about a fault that nobody has asked for
        return f"it did not stop within {timeout_s:g} s"
    return _fault_of(stopping)


def _fault_of(stopping: asyncio.Future[Any]) -> str | None:
    if stopping.cancelled():
        return "no broker answered"
    fault = stopping.exception()
    return None if fault is None else repr(fault)
