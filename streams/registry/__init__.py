"""The request registry in Redis: where each accepted request stands, and its reply.

Begin with `registry`; `scripts` holds its steps as Lua.
"""
