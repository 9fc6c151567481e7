"""The connection to Redis, its key families, and how full it is.

Begin with `connection`; `keys` lists every key that Headrace has there.
"""
