"""Which errors of Kafka pass by themselves, which never will, and which the producer does not survive.

aiokafka's own `retriable` says what *its* sender repeats. What a caller may repeat is another question: a
topic that refuses a record refuses it again for ever, and a producer that has lost its sequence refuses
everything until it is replaced. Every send of ours asks this one table.
"""

from aiokafka import errors as kafka

from streams.errors import HeadraceError, KafkaUnavailable, RecordTooLarge, TopicRefused, UnknownTopic

#: The record, or the request that it makes, is larger than the topic or the broker takes.
_TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError, kafka.RecordTooLargeError)
#: The topic does not take this record from us, however often it is tried.
_REFUSED = (
    kafka.InvalidTopicError,  # also an internal topic, such as __consumer_offsets
    kafka.TopicAuthorizationFailedError,
    kafka.PolicyViolationError,
    kafka.UnsupportedForMessageFormatError,
    kafka.InvalidTimestampError,
    kafka.CorruptRecordException,
    kafka.InvalidRequestError,
    kafka.UnsupportedVersionError,
    kafka.UnknownError,  # code 87, INVALID_RECORD, for which aiokafka has no name: e.g. a compacted topic
)
#: The broker and the producer no longer agree about what comes next, or the producer has ended.
_PRODUCER_LOST = (
    kafka.OutOfOrderSequenceNumber,
    kafka.UnknownProducerId,
    kafka.InvalidProducerEpoch,
    kafka.InvalidProducerIdMapping,
    kafka.ProducerFenced,
    kafka.ProducerClosed,
    kafka.IllegalStateError,
)


def is_producer_lost(fault: BaseException) -> bool:
    """Whether the producer that raised this raises it for every further record, until it is replaced.

    aiokafka's sender task raises the bare `KafkaError` for everything once it has ended.
    """
    return isinstance(fault, _PRODUCER_LOST) or type(fault) is kafka.KafkaError


def send_fault(fault: BaseException, topic: str, *, ours: bool) -> HeadraceError:
    """Return what the failed send of a record means for whoever wanted to send it.

    On topics of our own a refusal counts as transient: an operator who took a right away can give it back,
    and there is nowhere else that the record could go. Only its size never changes.

    Args:
        fault: what aiokafka raised.
        topic: where the record was to go.
        ours: whether that is one of Headrace's topics.
    """
    if isinstance(fault, _TOO_LARGE):
        return RecordTooLarge(f"topic {topic} does not take a record of this size: {fault!r}")
    if not ours and isinstance(fault, _REFUSED):
        return TopicRefused(f"topic {topic} does not take the record: {fault!r}")
    if not ours and isinstance(fault, kafka.UnknownTopicOrPartitionError):
        return UnknownTopic(f"topic {topic} has gone: {fault!r}")
    return KafkaUnavailable(f"{topic} was not acknowledged: {fault!r}")
