"""The process `headrace analytics`: from the log topic to ClickHouse, and from ClickHouse to analysts.

Begin with `main`; `sink` stores log records, `reports` answers queries, `alerts` watches.
Whatever asks ClickHouse or Kafka raises `ClickHouseUnavailable` or `KafkaUnavailable` where no answer comes
in time; docstrings name only what else may happen.
"""
