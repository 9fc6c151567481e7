"""Dead records as the runner writes them, and as strangers might."""

from typing import Any

from agents.stage import Record
from headrace.ops.dlq.letters import LetterId
from streams.errors import UndecodableRecord
from streams.events import Event
from streams.publisher import Emit
from streams.redelivery import dead_letter
from tests.fakes.records import read_record

DIED_MS = 1_780_000_000_000
WRITTEN_MS = DIED_MS - 60_000
LETTER_ID = LetterId(1, 7)


def record(value: bytes | None = b"{not json", **fields: Any) -> Record:
    """Return a record that a stage has read."""
    defaults: dict[str, Any] = {
        "topic": "llm.requests.v1",
        "partition": 2,
        "offset": 41,
        "timestamp_ms": WRITTEN_MS,
        "key": b"r-1",
        "headers": (("x-mine", b"\x01\xff"), ("kafka_correlationId", b"c-1")),
    }
    return read_record(value=value, **defaults | fields)


def buried(
    died: Record | None = None,
    *,
    stage: str = "guardrail",
    fault: BaseException | None = None,
) -> Emit:
    """Return the record that the runner writes for it."""
    return dead_letter(died or record(), stage=stage, fault=fault or UndecodableRecord("not valid JSON"))


def dead(emit: Emit | None = None, *, letter_id: LetterId = LETTER_ID, written_ms: int = DIED_MS) -> Record:
    """Return the same as it is read from the dead-letter topic."""
    emit = emit or buried()
    assert not isinstance(emit.key, str)
    assert not isinstance(emit.value, Event)
    return Record(
        topic="llm.dead-letters.v1",
        partition=letter_id.partition,
        offset=letter_id.offset,
        timestamp_ms=written_ms,
        key=emit.key,
        value=emit.value,
        headers=emit.headers,
    )
