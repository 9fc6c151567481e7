"""From the bytes of a provider's response to an `Answer`, the same way for every chat API.

Begin with `chat_api`.
"""
