"""Calls at providers, for accounts."""

from decimal import Decimal
from typing import Any

from streams.events import LlmCall, Usage
from tests.fakes.envelopes import NOW


def llm_call(model: str = "gpt-4o", **fields: Any) -> LlmCall:
    """An answered call of 100 and 20 tokens for 0.45 cents."""
    given: dict[str, Any] = {
        "call_id": "c-1",
        "attempt": 1,
        "provider": "openai",
        "request_model": model,
        "started_at": NOW,
        "duration_us": 5_000,
        "usage": Usage(input_tokens=100, output_tokens=20, cached_tokens=10, reasoning_tokens=5),
        "cost_usd": Decimal("0.000450000"),
        "price_version": "2026-11-01",
        "finish_reason": "stop",
    }
    return LlmCall(**(given | fields))


def failed_call(model: str = "gpt-4o", **fields: Any) -> LlmCall:
    """A call that cost nothing and gave nothing."""
    given: dict[str, Any] = {
        "usage": Usage(),
        "cost_usd": Decimal(0),
        "error": "rate_limited",
        "finish_reason": None,
    }
    return llm_call(model, **(given | fields))
