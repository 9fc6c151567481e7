"""How control records stand on `llm.control.v1`, and which of them count.

The topic is compacted. A record's present version has the key ``kind:name``, and goes by a tombstone. Each
version stays for good under ``history/version/kind:name``: so it can be shown and taken back, and an old
record that somebody writes once more is known to be old. A tombstone tells nothing by itself.
"""

from aiokafka import ConsumerRecord, TopicPartition

from streams.control.specs import ControlId
from streams.events import ControlRecord
from streams.kafka.record_auth import RecordAuth
from streams.redelivery import own_event
from streams.topics import CONTROL

#: All control records are on one partition, so that their order is one.
PARTITION = TopicPartition(CONTROL.name, 0)
_HISTORY = "history"


def history_key(of: ControlId, version: int) -> str:
    """Return the key under which a version is kept."""
    return f"{_HISTORY}/{version}/{of}"


def id_of(event: ControlRecord) -> ControlId:
    """Return which record this is a version of."""
    return ControlId(event.kind, event.name)


def read_version(record: ConsumerRecord, auth: RecordAuth) -> ControlRecord | None:
    """Return the version that a record of the topic is; None for a tombstone, and for what does not count.

    What Headrace did not write does not count, nor what is under the key of another record or version.
    """
    if record.value is None:
        return None
    event = own_event(record, ControlRecord, auth, reader="control")
    if event is None:
        return None
    of = id_of(event)
    known = {str(of).encode(), history_key(of, event.version).encode()}
    return event if record.key in known else None
