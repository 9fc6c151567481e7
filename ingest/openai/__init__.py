"""The routes that OpenAI's official clients speak: Chat Completions, Embeddings and Models.

Begin with `chat_completions`: a route, its schema and the form of its answers.
"""
