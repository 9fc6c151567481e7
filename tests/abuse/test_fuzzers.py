"""The short form of `python -m bench.abuse`: hostile requests and records, and a witness between them."""

import pytest

from bench.abuse.http import attack_http
from bench.abuse.topics import attack_topics
from headrace.up.home import Home
from tests.abuse.conftest import SEED
from tests.acceptance.conftest import System

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

_GROWTH_MIB = 256
"""A process that has just begun takes so much more under load, hostile or not."""


_GRANTED = ("shadow request", "shadow refused")
"""What a Kafka sender can do who also reads what others send: docs/security.md. The long form tries it."""


async def test_hostile_requests_are_answered_and_change_nothing(system: System) -> None:
    """No 5xx but 503; an error object and an id on each; witness, processes and books are right."""
    verdict = await attack_http(Home(system.data_dir), seed=SEED, requests=500, growth_mib=_GROWTH_MIB)
    assert not verdict.faults, "\n".join([f"seed {verdict.seed}", *verdict.faults])


async def test_hostile_records_on_every_topic_change_nothing(system: System) -> None:
    """No partition is stuck, no process ends, nothing forged has an effect; the witness is served once."""
    verdict = await attack_topics(
        Home(system.data_dir), seed=SEED, records=400, growth_mib=_GROWTH_MIB, skip=_GRANTED
    )
    assert not verdict.faults, "\n".join([f"seed {verdict.seed}", *verdict.faults])
