"""Batches that Kafka keeps and aiokafka cannot read."""

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import cramjam
import pytest
from aiokafka.record._crc32c import crc as calc_crc32c_py
from aiokafka.record.default_records import DefaultRecordBatchBuilder, _DefaultRecordBatchBuilderPy

from streams.kafka.clients import UNREADABLE, Records
from streams.topics import MAX_BATCH_BYTES

Header = tuple[str, bytes | None]
HEADER_BYTES = 61

ROOT = Path(__file__).parents[3]
SOURCES = ("streams", "ingest", "agents", "analytics", "headrace")


class Raw(str):
    """A header's name that is no UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfename"


def batch(
    headers: list[list[Header]], *, compression: int = 0, builder: Any = DefaultRecordBatchBuilder
) -> bytes:
    """Return a batch with a record for each list of headers, as a broker sends it."""
    built = builder(
        magic=2,
        compression_type=compression,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=100_000,
    )
    for offset, each in enumerate(headers):
        built.append(offset, timestamp=1, key=b"k", value=f"v{offset}".encode(), headers=each)
    return bytes(built.build())


def read(data: bytes) -> list[tuple[int, bytes, list[Header]]]:
    """Read all records of some batches."""
    found, records = [], Records(data)
    while records.has_next():
        each = records.next_batch()
        assert each is not None
        assert each.validate_crc()
        found += [(record.offset, record.value, list(record.headers)) for record in each]
    assert records.next_batch() is None
    return found


@pytest.mark.parametrize("compression", [0, 3], ids=["plain", "lz4"])
def test_a_name_that_is_no_text_is_read_as_escapes(compression: int) -> None:
    """Its record, and those before and behind it in the batch, come once each and in order."""
    headers: list[list[Header]] = [[("é", b"1")], [(Raw("x"), b"2"), ("null", None)], [("c", b"3")]]
    data = batch(headers, compression=compression, builder=_DefaultRecordBatchBuilderPy)
    assert read(data) == [
        (0, b"v0", [("é", b"1")]),
        (1, b"v1", [("\\xff\\xfename", b"2"), ("null", None)]),
        (2, b"v2", [("c", b"3")]),
    ]


def test_batches_around_it_are_read_as_ever() -> None:
    """Each batch is found where it is; what is cut off is left for the next fetch."""
    good = batch([[("a", b"1")], []])
    bad = batch([[(Raw("x"), b"2")]], builder=_DefaultRecordBatchBuilderPy)
    assert [value for _, value, _ in read(good + bad + good + bad[:-1])] == [
        b"v0",
        b"v1",
        b"v0",
        b"v0",
        b"v1",
    ]
    assert Records(good + bad).size_in_bytes() == len(good + bad)


def compressed(codec: int, payload: bytes, *, records: int = 1) -> bytes:
    """Return a batch whose compressed part is `payload`, with a right checksum, as a broker might keep it."""
    built = bytearray(batch([[] for _ in range(records)])[:HEADER_BYTES]) + payload
    built[8:12] = (len(built) - 12).to_bytes(4, "big")
    built[22] = codec
    built[17:21] = calc_crc32c_py(bytes(built[21:])).to_bytes(4, "big")
    return bytes(built)


@pytest.mark.parametrize(
    ("codec", "payload"),
    [
        (1, gzip.compress(bytes(MAX_BATCH_BYTES + 1))),
        (1, gzip.compress(bytes(MAX_BATCH_BYTES // 2 + 1)) * 2),
        (2, bytes(cramjam.snappy.compress_raw(bytes(2 * MAX_BATCH_BYTES)))),
        (3, bytes(cramjam.lz4.compress(bytes(MAX_BATCH_BYTES + 1)))),
        (4, bytes(cramjam.zstd.compress(bytes(MAX_BATCH_BYTES + 1)))),
        *((codec, b"these are no bytes of that codec") for codec in range(1, 8)),
        *((codec, b"") for codec in range(1, 8)),
    ],
    ids=lambda each: str(each) if isinstance(each, int) else f"{len(each)} bytes",
)
def test_a_batch_that_cannot_be_decompressed_is_one_record_without_a_value(
    codec: int, payload: bytes
) -> None:
    """Nine kilobytes of zstd make 300 MB: the process would be killed, again after each restart."""
    good = batch([[("a", b"1")], []])
    found = read(compressed(codec, payload, records=3) + good)
    assert [(offset, value) for offset, value, _ in found] == [(2, None), (0, b"v0"), (1, b"v1")]
    ((name, what),) = found[0][2]
    assert name == UNREADABLE
    assert what is not None
    assert b"offsets 0 to 2" in what


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_a_batch_that_can_be_is_read(codec: int) -> None:
    """By every codec, be it as large as a request may be."""
    value = bytes(2 * 1024 * 1024)
    built = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=8 * len(value),
    )
    for offset in range(4):
        built.append(offset, timestamp=1, key=b"k", value=value, headers=[])
    assert [value for _, value, _ in read(bytes(built.build()))] == [value] * 4


def test_whoever_opens_a_consumer_imports_the_readers() -> None:
    """Every module that makes a consumer of its own imports `streams.kafka.clients`."""
    sources = [path for name in SOURCES for path in (ROOT / name).rglob("*.py")]
    makes = [path for path in sources if "AIOKafkaConsumer(" in path.read_text(encoding="utf-8")]
    assert len(makes) >= 5
    assert [path for path in makes if "streams.kafka.clients" not in path.read_text(encoding="utf-8")] == []


def test_the_worker_reads_with_them() -> None:
    """The stages' consumers come from `agents.runner`."""
    module = "from aiokafka.consumer import fetcher; print(fetcher.MemoryRecords.__module__)"
    asks = f"import agents.bootstrap; {module}"
    asked = subprocess.run(
        [sys.executable, "-c", asks], capture_output=True, text=True, timeout=60, check=True
    )
    assert asked.stdout.strip() == "streams.kafka.clients"
