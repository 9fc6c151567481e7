"""What an error of Kafka means for whoever wanted to send."""

import inspect

import pytest
from aiokafka import errors as kafka

from streams.errors import KafkaUnavailable, RecordTooLarge, TopicRefused, TransientFault, UnknownTopic
from streams.kafka.producer import is_producer_lost, send_fault

EVERY = [
    each
    for each in vars(kafka).values()
    if inspect.isclass(each) and issubclass(each, kafka.KafkaError) and each is not kafka.KafkaError
]


@pytest.mark.parametrize(
    ("fault", "ours", "theirs"),
    [
        (kafka.MessageSizeTooLargeError(), RecordTooLarge, RecordTooLarge),
        (kafka.RecordListTooLargeError(), RecordTooLarge, RecordTooLarge),
        (kafka.InvalidTopicError(), KafkaUnavailable, TopicRefused),
        (kafka.TopicAuthorizationFailedError(), KafkaUnavailable, TopicRefused),
        (kafka.PolicyViolationError(), KafkaUnavailable, TopicRefused),
        (kafka.UnknownError(), KafkaUnavailable, TopicRefused),
        (kafka.UnknownTopicOrPartitionError(), KafkaUnavailable, UnknownTopic),
        (kafka.NotEnoughReplicasError(), KafkaUnavailable, KafkaUnavailable),
        (kafka.KafkaTimeoutError(), KafkaUnavailable, KafkaUnavailable),
        (kafka.OutOfOrderSequenceNumber(), KafkaUnavailable, KafkaUnavailable),
        (TimeoutError(), KafkaUnavailable, KafkaUnavailable),
    ],
)
def test_what_never_passes_is_told_from_what_does(
    fault: Exception, ours: type[Exception], theirs: type[Exception]
) -> None:
    """A topic of ours is tried again for as long as it takes; somebody else's only where that can help."""
    assert type(send_fault(fault, "t", ours=True)) is ours
    assert type(send_fault(fault, "t", ours=False)) is theirs


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_what_aiokafka_repeats_is_never_given_up_but_for_a_topic_that_has_gone(
    kind: type[kafka.KafkaError],
) -> None:
    """Over the client's own list, so that a new error cannot come in unnoticed."""
    if kind.retriable and kind is not kafka.UnknownTopicOrPartitionError:
        assert isinstance(send_fault(kind(), "t", ours=False), TransientFault)


def test_a_producer_that_cannot_go_on_is_known_by_its_errors() -> None:
    """A lost sequence, a fenced or closed producer, and the bare error of a sender task that has ended."""
    for fault in (kafka.OutOfOrderSequenceNumber(), kafka.ProducerClosed(), kafka.KafkaError()):
        assert is_producer_lost(fault)
    for fault in (kafka.MessageSizeTooLargeError(), kafka.KafkaTimeoutError(), TimeoutError()):
        assert not is_producer_lost(fault)
