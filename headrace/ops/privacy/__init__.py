"""Erasure of a user, from ClickHouse, Redis and whatever arrives again later.

Begin with `eraser`.
"""
