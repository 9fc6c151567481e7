"""A worker's ports follow the control records on Kafka."""

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from agents.worker_ports import Loaded, open_ports
from streams.control.specs import ControlId, ProviderSpec
from streams.control.writer import ControlWriter
from streams.kafka.topic_admin import create_topics
from streams.topics import CONTROL
from tests.fakes.model_records import model, provider
from tests.fakes.settings import settings_of

pytestmark = pytest.mark.integration

PROVIDER, MODEL = ControlId("provider", "live-ollama"), ControlId("model", "live-llama")


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.02)


async def test_a_change_is_live_in_a_worker(kafka_bootstrap: str, redis_url: str) -> None:
    """A model that was written before the start is there, and what changes later follows by itself."""
    await create_topics(kafka_bootstrap, partitions=1, replication=1, topics=[CONTROL])
    settings = settings_of(
        kafka_bootstrap=kafka_bootstrap, redis_url=redis_url, default_model="live-llama", record_signing="off"
    )
    said = model(provider=PROVIDER.name).spec
    async with ControlWriter(kafka_bootstrap, client_id="test", timeout_s=15) as writer:
        await writer.change({PROVIDER: provider().spec, MODEL: said}, author="ann")
        try:
            async with open_ports(settings, Loaded(), CollectorRegistry()) as ports:
                before = ports.models.current.chat["live-llama"]
                assert ports.control.state.specs(ProviderSpec)["live-ollama"].api_key_env is None
                await writer.change({MODEL: (said or {}) | {"max_output_tokens": 99}}, author="ann")
                await eventually(lambda: ports.models.current.chat["live-llama"].max_output_tokens == 99)
                after = ports.models.current.chat["live-llama"].price_version
                assert after != before.price_version
                await writer.change({MODEL: None}, author="ann")
                await eventually(lambda: "live-llama" not in ports.models.current.chat)
        finally:
            await writer.change({MODEL: None, PROVIDER: None}, author="ann")
