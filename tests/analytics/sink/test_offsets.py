"""What groups have committed, as brokers tell it."""

import pytest
from aiokafka import TopicPartition

from analytics.sink.offsets import check_answered
from streams.errors import KafkaUnavailable

HERE, THERE = TopicPartition("logs", 0), TopicPartition("logs", 1)


def test_a_broker_that_leaves_partitions_out_has_not_answered() -> None:
    """It is still reading the commits, or another one has them: that is not that there are none."""
    check_answered("g", [HERE, THERE], {HERE: -1, THERE: 7})
    check_answered("g", [], {})
    with pytest.raises(KafkaUnavailable, match="what g has committed"):
        check_answered("g", [HERE, THERE], {})
    with pytest.raises(KafkaUnavailable, match="what g has committed"):
        check_answered("g", [HERE, THERE], {HERE: 3})
