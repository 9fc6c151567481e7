"""Records as a consumer reads them."""

from types import SimpleNamespace
from typing import Any

from streams.kafka.record_auth import UNSIGNED, RecordAuth
from streams.redelivery import Record


def read_record(*, timestamp_ms: int, auth: RecordAuth = UNSIGNED, **fields: Any) -> Record:
    """Return the record that Headrace makes of what a consumer has read."""
    return Record.of(SimpleNamespace(timestamp=timestamp_ms, **fields), auth)
