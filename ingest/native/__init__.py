"""Headrace's own routes: `/v1/chat`, `/v1/requests` and the chat page.

Begin with `chat`.
"""
