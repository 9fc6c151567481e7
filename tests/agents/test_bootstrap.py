"""The wiring of a worker: every stage can be built, and time-outs that do not fit are refused."""

from typing import Any

import pytest

from agents.bootstrap import BUILDERS, check_timeouts
from streams.errors import ConfigurationError
from streams.pipeline import STAGES
from streams.settings import Settings, load_settings


def test_every_stage_of_the_pipeline_can_be_built() -> None:
    """And nothing is built that the pipeline does not name."""
    assert set(BUILDERS) == set(STAGES)


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
    check_timeouts(settings(**given))


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
        check_timeouts(settings(**given))
