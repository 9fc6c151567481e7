"""Webhooks: whoever asked for it is told over HTTP that a request has ended."""
