"""What a reader may ask for."""

from __future__ import annotations

import pytest

from headrace.embedded.clickhouse.http_query import READER_LIMITS, reader_settings
from headrace.embedded.clickhouse.query_error import QueryError


def test_a_reader_may_ask_for_less() -> None:
    """What it does not name is at its limit; its other settings are its own."""
    settings = reader_settings({"max_execution_time": "5", "max_threads": "1", "readonly": "0"})
    limits = {name: str(limit) for name, limit in READER_LIMITS.items()}
    assert settings == limits | {"max_execution_time": "5", "max_threads": "1", "readonly": "1"}


@pytest.mark.parametrize("limit", READER_LIMITS)
def test_a_limit_itself_is_allowed(limit: str) -> None:
    """And nothing above it."""
    most = READER_LIMITS[limit]
    assert reader_settings({limit: str(most)})[limit] == str(most)
    with pytest.raises(QueryError, match=limit):
        reader_settings({limit: str(most + 1)})


@pytest.mark.parametrize("value", ["0", "-1", "", "1.5", "ten", "9" * 5_000])
def test_what_is_no_number_within_the_limit_is_refused(value: str) -> None:
    """In ClickHouse's words, also where it has more digits than Python reads."""
    with pytest.raises(QueryError, match="max_execution_time"):
        reader_settings({"max_execution_time": value})
