"""What a consumer shows of itself, with everything filled in that a test does not care about."""

import itertools
from typing import Any

from agents.runner.assignment import PartitionProgress
from agents.runner.in_flight import RecordCounts, RecordWork
from agents.runner.stage_app import ConsumerView

#: A consumer that lives asks for records all the time.
_polls = itertools.count()


def partition(**fields: Any) -> PartitionProgress:
    """An idle partition: all 10 records of it are committed."""
    given: dict[str, Any] = {
        "topic": "t",
        "partition": 0,
        "committed": 10,
        "committable": None,
        "position": 10,
        "highwater": 10,
        "in_hand": 0,
        "fetched_at_ms": 0,
    }
    return PartitionProgress(**given | fields)


def view(*partitions: PartitionProgress, **fields: Any) -> ConsumerView:
    """A consumer that has joined its group, has room for four records, and none in hand."""
    given: dict[str, Any] = {
        "name": "guardrail",
        "limit": 4,
        "held": 0,
        "in_flight": (),
        "partitions": partitions,
        "joined": True,
        "rebalancing": False,
        "rebalances": 1,
        "polls": next(_polls),
        "last_begin_at": 0.0,
        "last_ack_at": None,
        "counts": RecordCounts(),
    }
    return ConsumerView(**given | fields)


def work(began_at: float, *, allowed_s: float = 0.0) -> RecordWork:
    """A record in flight."""
    made = RecordWork("t:0:10", began_at)
    made.may_take(allowed_s)
    return made
