"""The process `headrace analytics`: from the log topic to ClickHouse, and from ClickHouse to analysts.

Begin with `main`; `sink` stores log records, `reports` answers queries, `alerts` watches.
"""
