"""The rules of feedback: its value, its id and its time, the same at ingest and in analytics. Pure."""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from streams.codec import encode
from streams.errors import InvalidRequest
from streams.events import FeedbackGiven

#: The stage in the headers of its dead letters. They do not end the request that they name.
STAGE = "feedback"
#: Labels that stand for a value.
LABELS: Mapping[str, Decimal] = {"up": Decimal(1), "down": Decimal(0), "pass": Decimal(1), "fail": Decimal(0)}
#: The largest amount of a value: the sum of many squares fits ClickHouse's widest decimal.
MAX_VALUE = Decimal(1_000_000)
#: Nine decimals are kept, as of money.
_STEP = Decimal("0.000000001")
_MICROSECOND = timedelta(microseconds=1)
_MILLISECOND_US = 1_000


def value_of(*, value: Decimal | None, label: str) -> Decimal:
    """Return a score's value, to nine decimals, or its label's; `InvalidRequest` for none, or a wrong one."""
    if value is None:
        if label not in LABELS:
            known = ", ".join(LABELS)
            raise InvalidRequest(f"give a value, or one of the labels {known}", param="value")
        return LABELS[label]
    if not value.is_finite() or abs(value) > MAX_VALUE:
        raise InvalidRequest(f"value must be a number from -{MAX_VALUE} to {MAX_VALUE}", param="value")
    return value.quantize(_STEP)


def score_id_of(feedback: FeedbackGiven) -> str:
    """Return the id of a score among those of its request: a scorer who changes a score has given one."""
    if feedback.score_id is not None:
        return feedback.score_id
    named = f"{feedback.source}\n{feedback.name}\n{feedback.scorer}"
    return hashlib.blake2b(named.encode(), digest_size=16).hexdigest()


def scored_at_of(feedback: FeedbackGiven, *, written_at: datetime) -> datetime:
    """Return when a score was given: the version by which one replaces another with the same id.

    Kafka's and many other clocks count in milliseconds. A time of whole milliseconds gets microseconds from a
    hash of the content: of two scores in one millisecond the same one wins however they are stored.
    """
    at = feedback.scored_at or written_at
    if at.microsecond % _MILLISECOND_US:
        return at
    digest = hashlib.blake2b(encode(feedback), digest_size=8).digest()
    return at + int.from_bytes(digest) % _MILLISECOND_US * _MICROSECOND
