"""Publishes a record that cannot be stored as a dead letter, or logs it where it is too large for one."""

from functools import partial

from analytics.sink.status import Outages
from streams.dead_letters import DeadRecord, dead_letter
from streams.errors import InputError, Undeliverable
from streams.publisher import Publisher


async def publish_dead_letter(
    publisher: Publisher, record: DeadRecord, *, stage: str, fault: InputError, status: Outages
) -> str:
    """Publish a dead letter, waiting out outages of Kafka. Return the reason, for the log."""
    reason = str(fault)
    emit = dead_letter(record, stage=stage, fault=fault)
    try:
        await status.retry("kafka", partial(publisher.publish, emit))
    except Undeliverable as undeliverable:
        # With its reason, or without its compression, it is larger than a record may be. No try changes
        # that, and those behind it must not wait. It stays where it was read, while that is kept.
        return f"{reason}; and there is no dead letter: {undeliverable}"
    return reason
