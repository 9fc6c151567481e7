"""The accepted API keys and their owners."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

from streams.errors import ConfigurationError
from streams.settings import ApiKey

T = TypeVar("T")


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


class Keyring:
    """The API keys of senders. Raises `ConfigurationError` where none is configured."""

    def __init__(self, keys: Mapping[str, ApiKey]) -> None:
        if not keys:
            raise ConfigurationError(
                "no API key is configured: set HEADRACE_API_KEY to a secret of your choice, or "
                'HEADRACE_API_KEYS to {"key": {"tenant": "…", "tier": "…"}}'
            )
        self._table = KeyTable({key: Caller(owner.tenant, owner.tier) for key, owner in keys.items()})

    def caller(self, presented: str) -> Caller | None:
        """Return the owner of a key, or None, in constant time."""
        return self._table.owner(presented)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
