"""Control records of providers and models, and the state that records make."""

from datetime import UTC, datetime
from typing import Any

from streams.control.state import ControlState
from streams.events import ControlRecord

FREE: dict[str, Any] = {"input_usd_per_million": 0, "output_usd_per_million": 0}


def record(kind: str, name: str, spec: dict[str, Any] | None, *, version: int = 1) -> ControlRecord:
    """Return a version of a record; without a spec it was taken away."""
    at = datetime(2026, 12, 1, tzinfo=UTC)
    return ControlRecord(kind=kind, name=name, version=version, spec=spec, author="ann", at=at)


def provider(name: str = "ollama", **said: Any) -> ControlRecord:
    """Return a provider that speaks OpenAI's protocol without a key, where nothing else is said."""
    spec = {"protocol": "openai", "base_url": "http://127.0.0.1:9/v1"}
    return record("provider", name, spec | said)


def model(name: str = "llama3.2", *, version: int = 1, **said: Any) -> ControlRecord:
    """Return a model of the provider `ollama` that costs nothing, where nothing else is said."""
    spec = {
        "provider": "ollama",
        "context_window_tokens": 128_000,
        "max_output_tokens": 4_096,
        "price": FREE,
    }
    return record("model", name, spec | said, version=version)


def state_of(*records: ControlRecord) -> ControlState:
    """Return the state in which these records hold."""
    return ControlState().learned(records)
