"""The OpenAI API: Chat Completions and Embeddings, read and answered as OpenAI does.

Begin with `api.py`; `chat_request.py` reads a request, `chat_reply.py` renders the answer.
"""
