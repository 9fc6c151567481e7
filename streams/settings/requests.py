"""Settings of what a request may ask for: ingest checks them, and the worker checks them again."""

from typing import Literal

from pydantic import BaseModel, Field

from streams.events import MAX_DEADLINE_MS
from streams.kafka.record_sizes import MAX_BODY_BYTES


class RequestSettings(BaseModel):
    """Limits and defaults of requests."""

    max_tokens_per_request: int = Field(4096, ge=1, description="the most output tokens a request may ask")
    extra_parameters: tuple[str, ...] = ()
    max_input_tokens: int = Field(100_000, ge=1)
    default_max_tokens: int = Field(1024, ge=1)
    default_temperature: float = Field(0.7, ge=0, le=2)
    default_deadline_ms: int = Field(60_000, ge=1, le=MAX_DEADLINE_MS)
    on_disconnect: Literal["continue", "cancel"] = "continue"
    max_body_bytes: int = Field(MAX_BODY_BYTES, ge=1024, le=MAX_BODY_BYTES)

    # Embeddings requests (the cache's own embeddings: `embeddings`)
    embedding_max_inputs: int = Field(128, ge=1, le=256)
    embedding_in_flight: int = Field(64, ge=1)
    embedding_ttl_s: int = Field(600, ge=60)
