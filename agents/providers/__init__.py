"""Providers of answers and embeddings: OpenAI (and everything compatible with it) and Anthropic.

Begin with `provider`, the port, and `answers.reading`. docs/providers.md shows how to add one.
"""
