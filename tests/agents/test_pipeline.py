"""The pipeline as data agrees with the stages it names."""

from typing import Any

import pytest

from agents.bootstrap import _BUILDERS, check_budget
from agents.cache.stage import CacheStage
from agents.cost.stage import CostStage
from agents.embedding_stage.stage import EmbeddingsStage
from agents.guardrail.stage import GuardrailStage
from agents.llm.stage import LlmStage
from agents.output.stage import OutputStage
from agents.pipeline import CONSUMERS, RELAY, STAGES, WEBHOOKS
from agents.runner import relay
from agents.webhooks import intake
from streams.errors import ConfigurationError
from streams.settings import Settings, load_settings
from streams.topics import COMPLETIONS, EMBEDDINGS, GUARDED, MISSES, OUTCOMES, REQUESTS

CLASSES = (GuardrailStage, CacheStage, LlmStage, OutputStage, EmbeddingsStage, CostStage)


def test_every_stage_of_the_diagram_can_be_built() -> None:
    """And nothing is built that the diagram does not name."""
    assert set(_BUILDERS) == set(STAGES)
    assert tuple(each.name for each in CLASSES) == STAGES


def test_the_stages_read_their_topics_in_order() -> None:
    """Each reads what the one before it writes; a consumer group belongs to one stage and topic."""
    assert [each.source for each in CLASSES] == [
        *(REQUESTS, GUARDED, MISSES, COMPLETIONS),
        *(EMBEDDINGS, OUTCOMES),
    ]


def test_no_stage_reads_a_compacted_topic() -> None:
    """Compaction would take away a request that waits behind another of the same key."""
    assert not any(
        topic.compacted for topic in (*(each.source for each in CLASSES), relay.SOURCE, intake.SOURCE)
    )


def test_a_worker_runs_every_stage_the_relay_and_the_webhooks() -> None:
    """Unless it is told which; what is put aside comes back to every stage's topic, and to no other."""
    assert (*STAGES, RELAY, WEBHOOKS) == CONSUMERS
    assert set(relay._STAGE_INPUTS) == {each.source.name for each in CLASSES}


def settings(**given: Any) -> Settings:
    return load_settings(kafka_bootstrap="x", redis_url="x", clickhouse_url="x", _env_file=None, **given)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"retry_in_place_s": 24.0},
        {"drain_timeout_s": 20.1},
        {"drain_timeout_s": 59.0, "retry_in_place_s": 40.0},
    ],
)
def test_a_drain_that_ends_in_time(given: dict[str, Any]) -> None:
    """What waits in place and its last send fit into the drain, and the drain into the rebalance."""
    check_budget(settings(**given))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"retry_in_place_s": 25.0}, "HEADRACE_DRAIN_TIMEOUT_S is 40"),
        ({"drain_timeout_s": 20.0}, "HEADRACE_DRAIN_TIMEOUT_S is 20"),
        ({"drain_timeout_s": 60.0}, "below 60"),
        ({"stall_timeout_s": 20.0}, "HEADRACE_STALL_TIMEOUT_S is 20"),
    ],
)
def test_a_drain_that_does_not_is_a_wrong_setting(given: dict[str, Any], named: str) -> None:
    """The worker does not start, and the message says what to change."""
    with pytest.raises(ConfigurationError, match=named):
        check_budget(settings(**given))
