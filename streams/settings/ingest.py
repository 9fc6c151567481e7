"""Settings of `headrace ingest`."""

from typing import Annotated

from pydantic import BaseModel, Field, SecretStr


class IngestSettings(BaseModel):
    """What only ingest needs."""

    ingest_host: str = "127.0.0.1"
    ingest_port: int = Field(8000, ge=0, le=65535)
    ingest_replica: Annotated[int, Field(ge=0)] = 0
    ingest_replicas: Annotated[int, Field(ge=1)] = 1
    max_concurrent_requests: int = Field(2_000, ge=1, description="requests that one ingest holds open")
    stream_token_secret: SecretStr | None = Field(None, min_length=32)
    stream_token_ttl_s: int = Field(900, ge=10, le=86_400, description="how long a stream token is good")
