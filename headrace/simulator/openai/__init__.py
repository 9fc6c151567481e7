"""The OpenAI API: Chat Completions and Embeddings, read and answered as OpenAI does.

Begin with `chat_api.py`; `chat_request.py` reads a request, `embeddings.py` serves embeddings.
"""
