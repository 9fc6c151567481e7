"""From the log topic to ClickHouse, and from ClickHouse to analysts."""
