"""Records whose headers have names that are no text: Kafka takes any bytes, aiokafka reads UTF-8 only.

One such record would end every consumer of its partition, and again after each restart. With this module
imported, bytes of a name that are no UTF-8 are read as their escapes, and the record is like any other.
`streams.kafka_clients` imports it, and with that whatever reads from Kafka.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

#: Of a batch: its first offset and its length, which counts what follows it.
_LENGTH_AT, _LENGTH_END = 8, 12


class _Name(bytes):
    def decode(self, *_: object) -> str:
        """Return the name as text, whatever its bytes are."""
        return super().decode("utf-8", "backslashreplace")


class _Buffer(bytearray):
    def __getitem__(self, at: Any) -> Any:
        """Return a byte, or bytes that any text can be made of."""
        found = super().__getitem__(at)
        return _Name(found) if isinstance(at, slice) else found


class _AnyNames(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka is not typed
    """aiokafka's own reader in Python: slower than the compiled one, and it can be told how to decode."""

    _buffer: Any

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Buffer(self._buffer)


class _Batch:
    """A batch that the compiled reader reads for as long as it can."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._batch:
                read += 1
                yield record
        except UnicodeDecodeError:
            yield from islice(_AnyNames(self._raw), read, None)


class Records:
    """What a fetch has brought of a partition: aiokafka's `MemoryRecords`, but for names that are no text.

    Args:
        data: whole batches, the last of which may be cut off.
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
