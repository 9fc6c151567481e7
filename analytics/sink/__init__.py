"""From the log topic to ClickHouse: each log record exactly once as far as a query can see.

Begin with `sink`.
"""
