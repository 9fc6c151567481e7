"""The Anthropic API: Messages, read and answered as Anthropic does.

Begin with `messages_api.py`; `message_request.py` reads a request.
"""
