"""The exceptions of Headrace, as one tree.

    HeadraceError
    ├── ConfigurationError      a setting is missing or wrong: the process does not start
    ├── InputError              the sender's mistake: tell the sender, never retry
    │   ├── UndecodableRecord   bytes on a topic that are not the event they should be
    │   ├── UnauthenticRecord   a record on one of our topics that Headrace did not write
    │   └── InvalidRequest      a request that is well-formed and still cannot be served
    ├── Undeliverable           a record that no retry can bring onto its topic
    │   ├── RecordTooLarge      it is larger than the topic allows
    │   ├── TopicRefused        its topic does not take it: internal, no right to write, a policy
    │   └── UnknownTopic        its topic or partition does not exist
    └── TransientFault          somebody else's outage: wait and retry inside the deadline
        ├── KafkaUnavailable
        ├── StoreUnavailable    Redis
        │   ├── StoreFull       its memory is full, or nearly: nothing new is taken
        │   └── StoreDenied     it refuses our user or password; at start: ConfigurationError
        ├── ClickHouseUnavailable
        └── EmbeddingUnavailable

Faults of LLM providers have their own tree in `agents/providers/faults.py`: the rest of the system sees a
completion, a fallback or a degraded answer instead.
"""


class HeadraceError(Exception):
    """Base of every exception that Headrace raises on purpose."""


class ConfigurationError(HeadraceError):
    """A setting is missing or wrong. The message names the variable and what it must be."""


class InputError(HeadraceError):
    """The sender's mistake.

    Attributes:
        message: what is wrong and what to change, for the sender to read.
        code: a stable machine-readable code, e.g. ``context_length_exceeded``.
        param: the path of the offending field, e.g. ``messages[0].content``, if there is one.
    """

    def __init__(self, message: str, *, code: str = "invalid_request", param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param


class UndecodableRecord(InputError):
    """The bytes of a record are not the event that its topic carries."""


class UnauthenticRecord(InputError):
    """A record on a topic of our own without a valid code: Headrace did not write it."""


class InvalidRequest(InputError):
    """A well-formed request that cannot be served as it stands."""


class Undeliverable(HeadraceError):
    """A record that no retry can bring onto its topic."""


class RecordTooLarge(Undeliverable):
    """A record is larger than its topic allows."""


class TopicRefused(Undeliverable):
    """A sender's topic refuses a record. On our own topics that counts as `KafkaUnavailable`."""


class UnknownTopic(Undeliverable):
    """The topic or partition that a sender named does not exist."""


class TransientFault(HeadraceError):
    """A dependency did not answer. Retrying later may succeed.

    Attributes:
        retry_after_s: how long to wait before the next try, in seconds.
        in_place: whether the record may wait in its stage. Later records with its key then wait, too.
    """

    in_place = True

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SpendPending(TransientFault):
    """The request's spend is in another outcome, which has to be settled first."""

    in_place = False  # that outcome has the same key


class KafkaUnavailable(TransientFault):
    """The broker did not acknowledge in time."""


class StoreUnavailable(TransientFault):
    """Redis did not answer in time, or refused a command."""


class StoreFull(StoreUnavailable):
    """Redis is full. It takes seconds at least until keys expire or an operator acts."""

    def __init__(self, message: str, *, retry_after_s: float = 5.0) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class StoreDenied(StoreUnavailable):
    """Redis refuses the user, the password or a permission. Records wait as in an outage; a start fails."""


class ClickHouseUnavailable(TransientFault):
    """ClickHouse did not answer in time."""


class EmbeddingUnavailable(TransientFault):
    """The embedding model or service did not answer in time."""
