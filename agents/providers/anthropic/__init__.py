"""Anthropic's Messages API.

Begin with `messages`.
"""
