"""Takes users out of what is stored in ClickHouse, and applies retention.

Begin with `row_eraser`.
"""
