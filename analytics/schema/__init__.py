"""The ClickHouse schema: its migrations, and how they are applied.

Begin with `migrate`.
"""
