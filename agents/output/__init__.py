"""The output stage: checks a model's whole answer and its format, and keeps it for the cache.

Begin with `stage`. The rules are in `agents/checks/`: the LLM stage checks streams by the same.
"""
