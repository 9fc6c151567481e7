"""The routes that OpenAI's official clients speak: Chat Completions, Embeddings and Models.

Begin with `chat_completions`: a route and the form of its answers; `chat_schema` is its body.
"""
