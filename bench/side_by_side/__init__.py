"""Headrace, LiteLLM's Python proxy and Portkey's Node gateway in front of one provider simulator, by turns.

Begin at `scenarios` (what is asked) and `contenders` (who answers); `load` is the load generator's process.
"""
