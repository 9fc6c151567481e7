"""The run's broker."""

from collections.abc import AsyncIterator

import pytest

from tests.analytics.live.broker import Broker


@pytest.fixture
async def broker(kafka_bootstrap: str) -> AsyncIterator[Broker]:
    """It, and a connection that asks it."""
    broker = Broker(kafka_bootstrap)
    # The first group ever makes the broker create the topic of all groups' offsets, which takes a moment.
    await broker.commit("a-group", await broker.topic("first"), 0, 0)
    yield broker
    await broker.questions.close()
