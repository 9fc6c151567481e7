"""The files that make the read-only user on a real server say what the embedded one does."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

from headrace.embedded.clickhouse.http_query import READER_LIMITS
from streams.settings import Settings

FOLDER = Path(__file__).parents[3] / "deploy" / "clickhouse"


def test_the_sql_states_the_limits_as_values_and_as_bounds() -> None:
    """Nobody gets more by asking for it."""
    sql = (FOLDER / "reader.sql").read_text("utf-8")
    for name, limit in READER_LIMITS.items():
        assert re.search(rf"\b{name} = {limit} MIN 1 MAX {limit}\b", sql), name
    assert re.search(r"\breadonly = 2\b", sql)
    assert re.findall(r"^GRANT .*;$", sql, re.MULTILINE) == ["GRANT SELECT ON headrace.* TO headrace_reader;"]


def test_the_configuration_file_says_the_same() -> None:
    """For servers whose users are in files."""
    root = ET.parse(FOLDER / "reader.xml").getroot()  # noqa: S314 - a file of our own
    profile = root.find("profiles/headrace_reader")
    assert profile is not None
    assert profile.findtext("readonly") == "2"
    for name, limit in READER_LIMITS.items():
        assert profile.findtext(name) == str(limit), name
        assert profile.findtext(f"constraints/{name}/max") == str(limit), name
    assert root.findtext("users/headrace_reader/grants/query") == "GRANT SELECT ON headrace.*"


def test_what_the_api_may_be_set_to_ask_is_within_the_limits() -> None:
    """Or ClickHouse would refuse every query for its settings."""
    fields = {
        "analyst_timeout_s": "max_execution_time",
        "analyst_memory_bytes": "max_memory_usage",
        "analyst_result_bytes": "max_result_bytes",
    }
    for field, limit in fields.items():
        bounds = [each.le for each in Settings.model_fields[field].metadata if hasattr(each, "le")]
        assert bounds == [READER_LIMITS[limit]], field
