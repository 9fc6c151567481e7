"""The Anthropic API: Messages, read and answered as Anthropic does.

Begin with `api.py`; `message_request.py` reads a request, `message_reply.py` renders the answer.
"""
