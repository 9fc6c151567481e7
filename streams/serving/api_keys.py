"""API keys: the one that a request presents, and the accepted ones with their owners."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Annotated, Generic, TypeVar

import msgspec
from fastapi import Depends, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from streams.errors import ConfigurationError
from streams.serving.responses import unauthorized
from streams.settings import ApiKey

T = TypeVar("T")

_bearer = HTTPBearer(auto_error=False, description="Authorization: Bearer KEY")
_header = APIKeyHeader(name="X-API-Key", auto_error=False)


async def presented_key(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    api_key: Annotated[str | None, Security(_header)],
) -> str | None:
    """Return the key that a request presents, or None. The bearer token goes first."""
    presented = (bearer.credentials if bearer else api_key) or None
    if presented is None or presented.isascii():
        return presented
    return presented.encode("latin-1", "replace").decode("utf-8", "replace")  # header text is UTF-8


PresentedKey = Annotated[str | None, Depends(presented_key)]


def required(presented: str | None) -> str:
    """Return the key; raise the 401 where there is none."""
    if presented is None:
        raise unauthorized("no API key: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
    return presented


class Caller(msgspec.Struct, frozen=True):
    """The owner of a request; clients cannot set either field."""

    tenant: str
    tier: str


class KeyTable(Generic[T]):
    """Keys, kept as digests, and their owners. Raises `ConfigurationError` for an empty key."""

    def __init__(self, owners: Mapping[str, T]) -> None:
        if not all(key.strip() for key in owners):
            raise ConfigurationError(
                "HEADRACE_API_KEY, the keys in HEADRACE_API_KEYS and HEADRACE_ADMIN_KEY must not be empty"
            )
        self._owners = [(_digest(key), owner) for key, owner in owners.items()]

    def owner(self, presented: str) -> T | None:
        """Return the owner of a key, or None, in constant time."""
        digest = _digest(presented)
        found = None
        for known, owner in self._owners:
            if hmac.compare_digest(known, digest):
                found = owner
        return found


def sender_keys(keys: Mapping[str, ApiKey]) -> KeyTable[Caller]:
    """Return the API keys of senders; `ConfigurationError` where none is configured."""
    if not keys:
        raise ConfigurationError(
            "no API key is configured: set HEADRACE_API_KEY to a secret of your choice, or "
            'HEADRACE_API_KEYS to {"key": {"tenant": "…", "tier": "…"}}'
        )
    return KeyTable({key: Caller(owner.tenant, owner.tier) for key, owner in keys.items()})


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
