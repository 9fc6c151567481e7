"""Providers of LLM answers: OpenAI (and everything compatible with it) and Anthropic."""
