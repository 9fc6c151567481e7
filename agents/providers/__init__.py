"""Providers of answers and embeddings: OpenAI (and everything compatible with it) and Anthropic.

Begin with `provider`, the port, and `answers.chat_api`; `adapters` has one line for each. docs/providers.md
shows how to add one.
"""
