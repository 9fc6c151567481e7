"""The way to Redis, while a real Redis answers late or not at all."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from streams.errors import StoreDenied, StoreFull, StoreUnavailable
from streams.redis.connection import connect, store_faults

pytestmark = pytest.mark.integration

_TIMEOUT_S = 2.5  # long enough for fifty connections on a machine that is busy with other tests
_PAUSE_MS = 7_000  # outlasts every command's time-out


@pytest.fixture
async def impatient(redis_url: str) -> AsyncIterator[Redis]:
    """A client as our processes use it, with a short time-out."""
    client = connect(redis_url, timeout_s=_TIMEOUT_S)
    yield client
    await client.aclose()


@pytest.fixture
async def patient(redis_url: str) -> AsyncIterator[Redis]:
    """A client that waits."""
    client = connect(redis_url, timeout_s=10)
    yield client
    await client.aclose()


async def test_a_late_reply_is_never_taken_for_another_commands(impatient: Redis, patient: Redis) -> None:
    """A time-out closes its connection: after an outage each command gets its own reply."""
    names = [f"test:{uuid4().hex}:{number}" for number in range(50)]
    await patient.mset({name: name for name in names})
    await patient.client_pause(_PAUSE_MS)
    late = await asyncio.gather(*(impatient.get(name) for name in names), return_exceptions=True)
    assert all(isinstance(each, Exception) for each in late)
    await patient.ping()  # answered when the pause is over
    for _ in range(3):
        found = await asyncio.gather(*(impatient.get(name) for name in names))
        assert found == [name.encode() for name in names]


async def test_a_cancelled_command_leaves_no_reply_behind(impatient: Redis, patient: Redis) -> None:
    """A client that leaves in the middle of a command does no harm to the next."""
    name = f"test:{uuid4().hex}"
    await patient.set(name, "own")
    await patient.client_pause(1_000)  # outlasts the cancellation
    task = asyncio.ensure_future(impatient.get(f"{name}:other"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    await patient.ping()
    assert await impatient.get(name) == b"own"


async def test_connections_that_the_server_closed_are_not_used_again(
    impatient: Redis, patient: Redis
) -> None:
    """A restart of Redis closes the pooled connections and our own: the commands after it make new ones."""
    await impatient.ping()
    await asyncio.gather(*(impatient.pipeline().ping().execute() for _ in range(20)))  # as many connections
    await patient.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(0.05)  # until the sockets' ends have arrived
    assert await impatient.ping()
    assert all(await asyncio.gather(*(impatient.pipeline().ping().execute() for _ in range(20))))


async def test_an_absent_redis_is_named_within_the_timeout() -> None:
    """Refused or silent, it is one fault, and it comes in time."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        for listens in (False, True):
            if listens:
                mute.listen()  # the kernel takes connections, and nobody answers
            client = connect(f"redis://127.0.0.1:{mute.getsockname()[1]}/0", timeout_s=_TIMEOUT_S)
            async with asyncio.timeout(10):
                with pytest.raises(StoreUnavailable, match="Redis: a ping failed"), store_faults("a ping"):
                    await client.ping()
            await client.aclose()


def test_a_connection_that_closed_under_a_write_counts_as_away() -> None:
    """So uvloop says it: a RuntimeError; any other one is a bug, and stays one."""
    with pytest.raises(StoreUnavailable, match="Redis: a ping failed"), store_faults("a ping"):
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
    with pytest.raises(RuntimeError, match="something else"), store_faults("a ping"):
        raise RuntimeError("something else")


@pytest.mark.parametrize(
    ("fault", "ours", "words"),
    [
        (
            ResponseError("MISCONF Errors writing to the AOF file"),
            StoreUnavailable,
            "disk",
        ),
        (BusyLoadingError("Redis is loading the dataset in memory"), StoreUnavailable, "still loads"),
        (NoScriptError("No matching script. Please use EVAL."), StoreUnavailable, "the next try loads it"),
        (AuthenticationError("Authentication required."), StoreDenied, "HEADRACE_REDIS_URL"),
        (NoPermissionError("this user has no permissions"), StoreDenied, "headrace:*"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), StoreFull, "maxmemory"),
        (ReadOnlyError("You can't write against a read only replica."), StoreUnavailable, "primary"),
        (ResponseError("ERR unknown command"), StoreUnavailable, "unknown command"),
    ],
)
def test_each_fault_says_what_to_change(fault: Exception, ours: type[StoreUnavailable], words: str) -> None:
    """All are outages to a record, which waits; to the operator each is something else."""
    with pytest.raises(StoreUnavailable, match=re.escape(words)) as raised, store_faults("writing"):
        raise fault
    assert type(raised.value) is ours


async def test_scripts_that_redis_has_forgotten_are_loaded_again(patient: Redis) -> None:
    """A restart or `SCRIPT FLUSH` costs a round trip, no request."""
    script = patient.register_script("return 7")
    assert await script() == 7
    await patient.script_flush()
    assert await script() == 7
