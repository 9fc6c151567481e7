"""The exceptions of Headrace, as one tree.

A sender's mistake (`InputError`) is told to the sender, and never retried. An `Undeliverable` record becomes
a dead letter. A `TransientFault` is retried inside the deadline.

Faults of LLM providers have their own tree in `agents/providers/faults.py`: the rest of the system sees a
completion, a fallback or a degraded answer instead.
"""


class HeadraceError(Exception):
    """Base of every exception that Headrace raises on purpose."""


class ConfigurationError(HeadraceError):
    """A setting is missing or wrong. The message names the variable and what it must be."""


class InputError(HeadraceError):
    """The sender's mistake. The `message` says what is wrong and what to change.

    `code` is stable, e.g. ``context_length_exceeded``; `param` the path of the field,
    ``messages[0].content``.
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
    """A sender's topic refuses a record: it is internal, gives no right to write, or has a policy.

    On our own topics that counts as `KafkaUnavailable`.
    """


class UnknownTopic(Undeliverable):
    """The topic or partition that a sender named does not exist."""


class TransientFault(HeadraceError):
    """A dependency did not answer. Retrying after `retry_after_s` seconds may succeed.

    `in_place`: whether the record may wait in its stage. Later records with its key then wait, too.
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


def closed_under_write(fault: RuntimeError) -> bool:
    """Whether uvloop says by this fault that the other side has just closed the connection written to."""
    return "handler is closed" in str(fault)
