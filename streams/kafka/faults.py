"""What the errors of a Kafka send mean for its caller: transient, permanent, or the producer is lost.

aiokafka's own `retriable` is about its sender. A topic that refuses a record refuses it for ever, and a
producer that has lost its sequence refuses everything until it is replaced.
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
    """Whether the producer raises this for every further record, until it is replaced.

    aiokafka's sender task raises the bare `KafkaError` for everything once it has ended.
    """
    return isinstance(fault, _PRODUCER_LOST) or type(fault) is kafka.KafkaError


def send_fault(fault: BaseException, topic: str, *, ours: bool) -> HeadraceError:
    """Return our exception for a failed send.

    On Headrace's own topics (`ours`) a refusal counts as transient: an operator can give a right back, and
    there is nowhere else for the record to go. Only a record's size never changes.
    """
    if isinstance(fault, _TOO_LARGE):
        return RecordTooLarge(f"topic {topic} does not take a record of this size: {fault!r}")
    if not ours and isinstance(fault, _REFUSED):
        return TopicRefused(f"topic {topic} does not take the record: {fault!r}")
    if not ours and isinstance(fault, kafka.UnknownTopicOrPartitionError):
        return UnknownTopic(f"topic {topic} has gone: {fault!r}")
    return KafkaUnavailable(f"{topic} was not acknowledged: {fault!r}")
