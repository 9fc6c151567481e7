"""Connects and disconnects aiokafka's clients, and keeps consumers alive.

Some batches would otherwise end every consumer of their partition:

- A header whose name is no UTF-8 is read with escapes, and the record is like any other.
- A batch that decompresses to gigabytes (9 KB of zstd make 300 MB), or not at all, is read as one record
  without a value, at its last offset; the header `UNREADABLE` describes it.

A write to a connection that the broker has just closed is a `KafkaConnectionError` on uvloop, too. That
raises a `RuntimeError`, by which a commit would end the worker: https://github.com/aio-libs/aiokafka/issues/1038

Importing this module patches aiokafka.
"""

import asyncio
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, TypeAlias

import cramjam
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException, KafkaConnectionError
from aiokafka.record.default_records import _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.memory_records import MemoryRecords

from streams.errors import closed_under_write
from streams.topics import MAX_BATCH_BYTES

UNREADABLE = "headrace-unreadable-batch"

#: Where the records begin in a batch.
_HEADER_BYTES = 61
_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
#: The highest compression ratio of a codec; zstd has none.
_MOST_TIMES = {0: 1, _GZIP: 1_032, _SNAPPY: 22, _LZ4: 255}
_GZIP_WINDOW = 31
#: What the codecs raise for broken data.
_BROKEN = (cramjam.DecompressionError, zlib.error, OSError, EOFError, CorruptRecordException)

#: Where the length is in a batch. It counts the bytes that follow it.
_LENGTH_AT, _LENGTH_END = 8, 12


class _Name(bytes):
    def decode(self, *_: object) -> str:
        """Return the name as text, with escapes for what is no UTF-8."""
        return super().decode("utf-8", "backslashreplace")


class _Buffer(bytearray):
    def __getitem__(self, at: Any) -> Any:
        """Return a byte, or bytes whose `decode` never fails."""
        found = super().__getitem__(at)
        return _Name(found) if isinstance(at, slice) else found


class _AnyNames(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka is not typed
    """aiokafka's reader in Python: slower than the compiled one, and its decoding can be changed."""

    _buffer: Any

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Buffer(self._buffer)


class _Batch:
    """A batch, read by the compiled reader as far as that can."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        if not _is_readable(getattr(self._batch, "compression_type", 0), self._raw[_HEADER_BYTES:]):
            yield self._stand_in()
            return
        read = 0
        try:
            for record in self._batch:
                read += 1
                yield record
        except UnicodeDecodeError:
            yield from islice(_AnyNames(self._raw), read, None)
        except _BROKEN:
            yield self._stand_in()

    def _stand_in(self) -> _DefaultRecordPy:
        first, last = self._batch.base_offset, self._batch.next_offset - 1
        what = (
            f"a batch of {len(self._raw)} bytes, offsets {first} to {last}, that does not decompress within "
            f"{MAX_BATCH_BYTES} bytes"
        )
        headers: list[tuple[str, bytes | None]] = [(UNREADABLE, what.encode())]
        timestamp, timestamp_type = self._batch.max_timestamp, self._batch.timestamp_type
        return _DefaultRecordPy(last, timestamp, timestamp_type, None, None, headers)


def _is_readable(codec: int, data: memoryview) -> bool:
    """Whether a batch's records decompress, to no more than `MAX_BATCH_BYTES`."""
    if codec in _MOST_TIMES and len(data) * _MOST_TIMES[codec] <= MAX_BATCH_BYTES:
        return True  # or aiokafka finds that it is broken; the broker had looked
    if codec == _GZIP:
        return _gunzips(bytes(data))
    module = {_LZ4: cramjam.lz4, _ZSTD: cramjam.zstd}.get(codec)
    if module is None:
        return False
    try:
        module.decompress_into(bytes(data), bytearray(MAX_BATCH_BYTES))
    except cramjam.DecompressionError:
        return False
    return True


def _gunzips(data: bytes) -> bool:
    left = MAX_BATCH_BYTES
    while data:
        member = zlib.decompressobj(_GZIP_WINDOW)
        try:
            left -= len(member.decompress(data, left + 1))
        except zlib.error:
            return False
        if left < 0 or not member.eof:
            return False
        data = member.unused_data
    return True


class Records:
    """What a fetch returns of a partition: whole batches, the last of which may be cut off.

    It replaces aiokafka's `MemoryRecords`.
    """

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._records = MemoryRecords(data)
        self._at = 0

    def size_in_bytes(self) -> int:
        """Return the size of the batches, in bytes."""
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        """Whether there is one more whole batch."""
        return bool(self._records.has_next())

    def next_batch(self) -> _Batch | None:
        """Return the next batch; None where there is none."""
        batch, begin = self._records.next_batch(), self._at
        if batch is None:
            return None
        self._at += _LENGTH_END + int.from_bytes(self._data[begin + _LENGTH_AT : begin + _LENGTH_END], "big")
        return _Batch(batch, self._data[begin : self._at])


fetcher.MemoryRecords = Records

_send = AIOKafkaConnection.send


def _send_or_break(connection: Any, *request: Any, **options: Any) -> Any:
    """Send a request as aiokafka does; `KafkaConnectionError` where the connection was closed just now."""
    try:
        return _send(connection, *request, **options)
    except RuntimeError as fault:
        if not closed_under_write(fault):
            raise
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"{connection!r} is broken: {fault}") from fault


AIOKafkaConnection.send = _send_or_break

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
    escape, which the caller would take for its own. Return why it did not end well, for the log.
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
