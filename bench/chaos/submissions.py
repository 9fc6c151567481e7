"""What is sent and what comes back, as values."""

import hashlib
from enum import StrEnum
from typing import NamedTuple

import msgspec

#: How the client of a stream sees an answer: it reads text and an end mark.
STREAMED = "streamed"


class Kind(StrEnum):
    """What a submission is there to try."""

    UNIQUE = "unique question"
    COMMON = "common question"  # its answer is likely to be cached
    BLOCKED = "blocked"
    TWIN = "twice at once"
    LATER = "again later"
    CONFLICT = "other body, same id"
    NOT_JSON = "not JSON"
    UNFIT = "wrong fields"
    NAMELESS = "without id"
    GARBAGE = "not JSON, without id"
    SHORT = "short deadline"
    CANCELLED = "cancelled"
    ABANDONED = "client leaves"
    PROBE = "probe"


class Channel(StrEnum):
    """How it is sent."""

    KAFKA = "Kafka"
    WHOLE = "HTTP, whole"
    STREAM = "HTTP, stream"
    ASYNC = "HTTP, 202"


class Submission(msgspec.Struct, kw_only=True):
    """One time a request was sent.

    Attributes:
        number: of this submission; over Kafka the correlation id is made of it.
        request_id: None where the sender gives none, or does not know it yet.
        first: whether it is the first one under its id.
    """

    number: str
    kind: Kind
    channel: Channel
    sent_at: float
    request_id: str | None = None
    first: bool = True
    partition: int | None = None
    accepted_at: float | None = None
    answered_at: float | None = None

    @property
    def waits(self) -> bool:
        """Whether it is in flight: it was sent, and no reply was seen."""
        return self.answered_at is None and self.kind is not Kind.GARBAGE


class Answer(NamedTuple):
    """What a reply says, as far as two replies to one request must agree."""

    status: str
    code: str | None
    content: str

    @classmethod
    def of(cls, status: str, code: str | None, content: str) -> "Answer":
        """Return the answer; of its text only a digest is kept."""
        return cls(status, code, hashlib.blake2b(content.encode(), digest_size=12).hexdigest())


class SeenReply(msgspec.Struct, frozen=True, kw_only=True):
    """A reply record as it lies in a topic."""

    topic: str
    place: str
    request_id: str
    ce_id: str | None
    correlation: str | None
    replay: int
    answer: Answer
    repeat: bool
