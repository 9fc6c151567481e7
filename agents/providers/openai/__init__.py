"""OpenAI's API and everything compatible with it: chat completions and embeddings.

Begin with `chat`.
"""
