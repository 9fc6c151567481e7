"""A provider that answers like OpenAI and Anthropic over HTTP, and says that it is simulated."""

from headrace.simulator.app import create_app

__all__ = ["create_app"]
